/** Adding local files: by a path on the kernel's machine, or sent from the browser's. */
import { signal } from "@preact/signals";
import * as f from "../lib/format";
import { BUFFER_LIMIT, isAbort, type Rpc } from "../lib/rpc";
import { type BaseStore, during } from "../lib/store";
import type { SaeBrowserState, SaeCommand } from "../lib/wire";

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

/** Sends all files; the id of the upload. When it is given up or fails, Python throws away what arrived. */
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

export const ADDING = "adding";

/** What is typed about an SAE that is added; null or empty leaves it to the files. */
export type About = Omit<Extract<SaeCommand, { kind: "add_local" }>, "kind" | "path">;

export interface Upload {
  /** What is sent: "sae.zip", "3 files". */
  name: string;
  received: number;
  total: number;
  since: number;
  /** "sending", then "checking": Python looks at what arrived and converts it. */
  phase: "sending" | "checking";
}

export class Adding {
  readonly shown = signal(false);
  readonly copying = signal(false);
  readonly upload = signal<Upload | null>(null);
  private stop: AbortController | null = null;

  constructor(private readonly store: BaseStore<SaeBrowserState, SaeCommand, unknown>) {}

  get busy(): boolean {
    return this.copying.value || this.upload.value !== null;
  }

  async addPath(path: string, about: About): Promise<void> {
    const command = { kind: "add_local", path, ...about } as const;
    const answer = await during(this.copying, this.store.command(ADDING, "Add", command));
    if (answer) this.added(answer.value);
  }

  async send(files: FileToSend[], about: About): Promise<void> {
    this.store.dismiss(ADDING);
    const stop = new AbortController();
    this.stop = stop;
    const total = files.reduce((sum, file) => sum + file.data.size, 0);
    const name = files.length === 1 ? (files[0]?.name ?? "") : `${f.count(files.length)} files`;
    const show = (received: number, phase: Upload["phase"]) => {
      if (!stop.signal.aborted) this.upload.value = { name, received, total, since, phase };
    };
    const since = performance.now();
    show(0, "sending");
    try {
      const upload_id = await sendFiles(this.store.rpc, files, {
        signal: stop.signal,
        onProgress: (received) => show(received, "sending"),
      });
      show(total, "checking");
      const answer = await this.store.rpc.send({ kind: "finish_upload", upload_id, ...about });
      this.added(answer.value);
    } catch (error) {
      if (!isAbort(error)) this.store.fail(ADDING, error);
    } finally {
      if (this.stop === stop) {
        this.stop = null;
        this.upload.value = null;
      }
    }
  }

  /** Gives up an upload while it is sent; what is being taken in already cannot be stopped. */
  cancel(): void {
    if (this.upload.value?.phase !== "sending") return;
    this.stop?.abort();
    this.upload.value = null;
  }

  private added({ sae_id }: { sae_id: string }): void {
    this.shown.value = false;
    this.store.focusCard.value = sae_id;
    this.store.announce("Added to the library.");
  }
}
