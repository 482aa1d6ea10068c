/** Binary columns ↔ typed arrays. Buffers arrive as views into a larger message, so the byte offset counts. */

export type Buffer = DataView | ArrayBuffer | Uint8Array;

/** The bytes of a column of values of `size` bytes; copied where the view does not start at a multiple of that. */
function columnOf(buffer: Buffer, size: 4 | 8): [ArrayBufferLike, number, number] {
  const whole = buffer instanceof ArrayBuffer;
  const bytes = whole ? new Uint8Array(buffer) : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  if (bytes.byteLength % size !== 0) throw new RangeError(`A float${8 * size} column has ${bytes.byteLength} bytes.`);
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return [aligned.buffer, aligned.byteOffset, aligned.byteLength / size];
}

/** Little-endian float64 values. */
export const toFloat64 = (buffer: Buffer): Float64Array => new Float64Array(...columnOf(buffer, 8));

/** Little-endian float32 values. */
export const toFloat32 = (buffer: Buffer): Float32Array => new Float32Array(...columnOf(buffer, 4));

/** The columns of a `Result` by name. Throws when names and buffers do not match, rather than show shifted numbers. */
export function columnsOf(names: readonly string[], buffers: readonly Buffer[]): Map<string, Float64Array> {
  if (names.length !== buffers.length) {
    throw new RangeError(`${names.length} column names came with ${buffers.length} buffers.`);
  }
  return new Map(names.map((name, i) => [name, toFloat64(buffers[i] as Buffer)]));
}
