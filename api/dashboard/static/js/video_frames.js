/** Decodes frames of a video file in the browser. */

const OPEN_MAX_MS = 10_000;
const FRAME_PX = 960;

export class Clip {
  /** @param {HTMLVideoElement} video @param {string} url */
  constructor(video, url) {
    this.video = video;
    this.url = url;
  }

  /** Throws TypeError if the browser cannot play the file. @param {File} file @returns {Promise<Clip>} */
  static async open(file) {
    const video = document.createElement("video");
    const url = URL.createObjectURL(file);
    Object.assign(video, { muted: true, preload: "auto", src: url });
    try {
      await heard(video, "loadeddata");
    } catch (error) {
      URL.revokeObjectURL(url);
      throw error;
    }
    return new Clip(video, url);
  }

  /** Returns the frame at this time. Throws TypeError. @param {number} pts_s @returns {Promise<HTMLCanvasElement>} */
  async frameAt(pts_s) {
    const { video } = this;
    const sought = heard(video, "seeked");
    video.currentTime = Math.min(pts_s + 0.001, video.duration);      // not the one before, by rounding
    await sought;
    const canvas = document.createElement("canvas");
    const scale = Math.min(1, FRAME_PX / video.videoWidth);
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d")?.drawImage(video, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  close() {
    this.video.removeAttribute("src");
    URL.revokeObjectURL(this.url);
  }
}

/** @param {HTMLVideoElement} video @param {string} event @returns {Promise<void>} */
function heard(video, event) {
  return new Promise((resolve, reject) => {
    const fail = () => reject(new TypeError("this browser cannot play the file"));
    video.addEventListener(event, () => resolve(), { once: true });
    video.addEventListener("error", fail, { once: true });
    setTimeout(fail, OPEN_MAX_MS);
  });
}
