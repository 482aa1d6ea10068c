/** Binary columns ↔ typed arrays. Buffers arrive as views into a larger message, so the byte offset counts. */

export type Buffer = DataView | ArrayBuffer | Uint8Array;

function bytesOf(buffer: Buffer): Uint8Array {
  return buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer)
    : new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** Little-endian float64 values. Copies when the view does not start at a multiple of 8. */
export function toFloat64(buffer: Buffer): Float64Array {
  const bytes = bytesOf(buffer);
  if (bytes.byteLength % 8 !== 0) throw new RangeError(`A float64 column has ${bytes.byteLength} bytes.`);
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  return new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 8);
}

/** Little-endian float32 values. Copies when the view does not start at a multiple of 4. */
export function toFloat32(buffer: Buffer): Float32Array {
  const bytes = bytesOf(buffer);
  if (bytes.byteLength % 4 !== 0) throw new RangeError(`A float32 column has ${bytes.byteLength} bytes.`);
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 4);
}

export function fromFloat64(values: ArrayLike<number>): DataView {
  return new DataView(Float64Array.from(values).buffer);
}

/** The columns of a `Result` by name. Throws when names and buffers do not match, rather than show shifted numbers. */
export function columnsOf(names: readonly string[], buffers: readonly Buffer[]): Map<string, Float64Array> {
  if (names.length !== buffers.length) {
    throw new RangeError(`${names.length} column names came with ${buffers.length} buffers.`);
  }
  return new Map(names.map((name, i) => [name, toFloat64(buffers[i] as Buffer)]));
}
