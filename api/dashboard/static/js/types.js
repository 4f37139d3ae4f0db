/**
 * Types of server messages (docs/contracts/events.md). No code.
 *
 * @typedef {Object} FaceVerdict
 * @property {number} track
 * @property {[number, number, number, number]} box  x, y, width, height as shares of the frame
 * @property {string} label
 * @property {string} reason
 * @property {number} samples
 * @property {number|null} prob_fake
 * @property {number} [suspicion]  share of the alarm limit that the face has reached
 *
 * @typedef {Object} Verdict
 * @property {"verdict"} type
 * @property {string} id
 * @property {string} stream
 * @property {number} epoch
 * @property {number} sequence
 * @property {number} start_s   media time
 * @property {number} end_s     media time
 * @property {number} samples
 * @property {number} wanted
 * @property {number} coverage  0..1
 * @property {number} rate_hz
 * @property {string} label
 * @property {string} reason
 * @property {number|null} prob_fake
 * @property {FaceVerdict[]} faces
 * @property {{dropped: Record<string, number>}} frames
 * @property {number} age_ms
 * @property {boolean} [alarm]  whether an alarm is open
 * @property {{limit: number}|null} [decision]  there if sums over the whole call decide, not the window alone
 *
 * @typedef {Object} StreamStarted
 * @property {"stream.started"} type
 * @property {string} stream
 * @property {number} epoch
 * @property {string} source
 * @property {number} started_s  Unix time
 * @property {boolean} [sample]
 * @property {string} [call_id]
 * @property {string} [participant_id]
 *
 * @typedef {{type: "stream.gap", stream: string, epoch: number, cause: string, from_s: number}} StreamGap
 * @typedef {{type: "stream.stalled", stream: string, epoch: number, silent_s: number, from_s: number}} StreamStalled
 * @typedef {{type: "stream.ended", stream: string, epoch: number, reason: string, message: string}} StreamEnded
 * @typedef {{type: "incident.opened"|"incident.closed", id: string, stream: string, epoch: number}} IncidentEvent
 * @typedef {Verdict|StreamStarted|StreamGap|StreamStalled|StreamEnded|IncidentEvent} ServerEvent
 *
 * @typedef {Object} FileResult    the body of /predict
 * @property {"image"|"video"} file_type
 * @property {string} label
 * @property {string} reason_text
 * @property {{REAL: number|null, FAKE: number|null}} probabilities  in percent
 * @property {number} processing_time  in s
 * @property {number|null} frequency_score
 * @property {number} faces_detected
 * @property {{start_s: number, end_s: number, label: string, prob_fake: number|null}[]} [segments]  of a video, in order
 * @property {number} [frames_analyzed]
 * @property {number} [total_frames]
 * @property {number|null} [consistency_score]  in percent
 * @property {{frame_number: number, pts_s: number, prob_fake: number|null}[]} [frame_predictions]  in percent
 *
 * @typedef {Object} Job           the body of /v1/jobs/{id}
 * @property {string} job_id
 * @property {"queued"|"running"|"done"|"failed"} state
 * @property {number} done
 * @property {number} planned
 * @property {FileResult} [result]
 * @property {{status: number, code: string, message: string}} [error]
 */
export {};
