/** HTTP requests to the service with the API key, and error texts. */

import { sentence } from "./format.js";

const KEY_NAME = "deepguard.key";

/** @returns {string} the API key of this tab, or "" */
export function apiKey() {
  return sessionStorage.getItem(KEY_NAME) ?? "";
}

/** @param {string} key "" removes it */
export function setApiKey(key) {
  if (key) sessionStorage.setItem(KEY_NAME, key);
  else sessionStorage.removeItem(KEY_NAME);
}

/** @param {string} [key] @returns {Record<string, string>} */
export function authHeaders(key = apiKey()) {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** @param {string} path relative to the page @returns {string} */
export function urlOf(path) {
  return new URL(path, document.baseURI).href;
}

/** An HTTP error response of the service. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {number} retryAfterS */
  constructor(status, code, message, retryAfterS = 0) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  /** @param {number} status @param {string} text @param {string|null} retryAfter @returns {ApiError} */
  static from(status, text, retryAfter) {
    const retryAfterS = Number(retryAfter ?? 0) || 0;
    try {
      const { code, message } = JSON.parse(text).error;
      return new ApiError(status, code, message, retryAfterS);
    } catch {
      return new ApiError(status, "http", `The service answered ${status}.`, retryAfterS);
    }
  }
}

/**
 * Throws ApiError for 4xx and 5xx, TypeError if the service is unreachable.
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>}
 */
export async function request(path, init = {}) {
  const response = await fetch(urlOf(path), { ...init, headers: { ...authHeaders(), ...init.headers } });
  if (response.ok) return response;
  throw ApiError.from(response.status, await response.text(), response.headers.get("Retry-After"));
}

/** @param {string} path @param {RequestInit} [init] @returns {Promise<any>} */
export async function requestJson(path, init) {
  return (await request(path, init)).json();
}

/** @param {string} key @returns {Promise<boolean>} whether the service refuses this key; false if it is unreachable */
export async function keyRefused(key) {
  try {
    const response = await fetch(urlOf("v1/streams"), { headers: authHeaders(key), cache: "no-store" });
    return response.status === 401;
  } catch {
    return false;
  }
}

/** @param {unknown} error @returns {string} a sentence for the user */
export function errorWords(error) {
  if (error instanceof ApiError) {
    const wait = error.retryAfterS ? ` Try again in ${error.retryAfterS} s.` : "";
    if (error.status === 401) return "A valid API key is needed.";
    return `${sentence(error.message.replace(/[.\s]*$/, ""))}.${wait}`;
  }
  if (error instanceof TypeError) return "The service cannot be reached.";
  return error instanceof Error ? error.message : String(error);
}
