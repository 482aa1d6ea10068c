/** Sends files to Python piece by piece, as binary buffers, each after the one before has arrived. */
import { BUFFER_LIMIT, type Rpc } from "./rpc";

export interface FileToSend {
  /** With `/` between the parts of a folder. */
  name: string;
  data: Blob;
}

interface UploadOptions {
  signal: AbortSignal;
  /** Bytes that have arrived, of all files together. */
  onProgress: (received: number) => void;
}

/**
 * Sends all files; the id of the upload, which the caller finishes. When it is given up or fails, Python is told to throw
 * away what arrived.
 */
export async function sendFiles(rpc: Rpc, files: readonly FileToSend[], options: UploadOptions): Promise<string> {
  const { signal, onProgress } = options;
  const announced = files.map((file) => ({ name: file.name, size: file.data.size }));
  const begun = await rpc.send({ kind: "begin_upload", files: announced }, { signal });
  const { upload_id } = begun.value;
  try {
    for (const [index, file] of files.entries()) {
      for (let offset = 0; offset < file.data.size; offset += BUFFER_LIMIT) {
        const piece = await file.data.slice(offset, offset + BUFFER_LIMIT).arrayBuffer();
        const answer = await rpc.send(
          { kind: "upload_chunk", upload_id, file: index, offset },
          { signal, buffers: [piece] },
        );
        onProgress(answer.value.received);
      }
    }
    return upload_id;
  } catch (error) {
    // Where the kernel is gone there is nobody to tell, and nothing of it is left there.
    void rpc.send({ kind: "cancel_upload", upload_id }).catch(() => {});
    throw error;
  }
}

/** The files of an `<input type="file">`; those of a folder are named from inside it. */
export function filesOf(list: FileList | readonly File[]): FileToSend[] {
  return [...list].map((file) => {
    const path = file.webkitRelativePath;
    return { name: path ? path.split("/").slice(1).join("/") || file.name : file.name, data: file };
  });
}
