/** Draws heat maps over the faces of a frame: warmer areas suggest a fake. */

const SIDE = 7;
const CROP_SCALE = 1.3;     // as detector/face_crop.py cuts the square that the network sees
const WARM = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];     // inferno, coarsely

/** @param {number} share 0..1 @returns {[number, number, number]} */
export function warmth(share) {
  const at = Math.max(0, Math.min(1, share)) * (WARM.length - 1);
  const low = Math.min(WARM.length - 2, Math.floor(at));
  const mixed = WARM[low].map((value, channel) => Math.round(value + (WARM[low + 1][channel] - value) * (at - low)));
  return /** @type {[number, number, number]} */ (mixed);
}

/**
 * Returns the square that the network analyzed, in pixels of a frame of this size.
 * @param {number[]} box  x, y, width, height in shares of the frame
 * @param {{width: number, height: number}} frame
 * @returns {{left: number, top: number, side: number}}
 */
export function squareOf([x, y, width, height], frame) {
  const side = CROP_SCALE * Math.max(width * frame.width, height * frame.height);
  return { left: (x + width / 2) * frame.width - side / 2, top: (y + height / 2) * frame.height - side / 2, side };
}

/**
 * Draws the maps; areas without evidence stay transparent.
 * @param {HTMLCanvasElement} canvas  as large as the frame
 * @param {{box: number[], heat_map: number[]}[]} faces
 */
export function drawHeat(canvas, faces) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  for (const face of faces) {
    if (face.heat_map.length !== SIDE * SIDE) continue;
    const { left, top, side } = squareOf(face.box, canvas);
    context.drawImage(tileOf(face.heat_map), left, top, side, side);
  }
}

/** @param {number[]} cells 0..255, by rows @returns {HTMLCanvasElement} one pixel per cell */
function tileOf(cells) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = SIDE;
  const context = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  const pixels = context.createImageData(SIDE, SIDE);
  cells.forEach((cell, index) => pixels.data.set([...warmth(cell / 255), cell], 4 * index));
  context.putImageData(pixels, 0, 0);
  return tile;
}
