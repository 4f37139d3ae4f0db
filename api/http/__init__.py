"""What every HTTP request passes: authentication, rate limits, middleware, error responses, deadlines."""
