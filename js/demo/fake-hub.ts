/** A stand-in for the download widget's Python half and the hub behind it. */
import type { DownloadCard, HubCommand, HubListing, HubPreviewData, HubState } from "../src/lib/wire";
import { FakeWidget } from "./fake-widget";
import { gemmaListing, gemmaPreview, KNOWN, listing, preview } from "./hub-fixtures";

type Sent = HubCommand & { id: string };

export interface HubOptions {
  /** ms until an answer. */
  delay?: number;
  /** By the text that was asked for; a string is a failure. */
  listings?: Record<string, HubListing | string>;
  previews?: (path: string, device: string) => Partial<HubPreviewData> | string;
  silent?: boolean;
}

const NEXT: Record<string, string> = {
  pause: "paused",
  resume: "running",
  retry: "running",
  cancel: "cancelled",
};

export class FakeHub extends FakeWidget<HubState, HubCommand> {
  constructor(
    state: HubState,
    private readonly options: HubOptions = {},
  ) {
    super("download", state);
  }

  send(content: unknown): void {
    const command = content as Sent;
    this.sent.push(command);
    if (this.options.silent) return;
    setTimeout(() => this.answer(command), 5);
  }

  private answer(command: Sent): void {
    const { id } = command;
    this.emit("msg:custom", { id, kind: "ack" }, []);
    const say = (message: object, delay = 5) =>
      setTimeout(() => this.emit("msg:custom", { id, ...message }, []), delay);
    const reply = (value: unknown, delay = 5) => say({ kind: "result", value }, delay);
    const slow = this.options.delay ?? 5;
    switch (command.kind) {
      case "hub_known":
        return void reply(KNOWN);
      case "hub_token":
        this.setState({ has_token: command.token !== null });
        return void reply(null);
      case "hub_list": {
        const found = this.options.listings?.[command.release || (command.text ?? "")];
        if (typeof found === "string") return void say({ kind: "failure", what: found, hint: "Try again." }, slow);
        return void reply(found ?? (command.release ? gemmaListing() : listing({ text: command.text })), slow);
      }
      case "hub_rows":
        return void reply({ listing: command.listing, offset: command.offset, rows: [] });
      case "hub_preview": {
        const { sae, device } = command;
        const changes = this.options.previews?.(sae.path, device ?? "") ?? {};
        if (typeof changes === "string") return void say({ kind: "failure", what: changes, hint: "Try again." }, slow);
        const made = sae.repo_id.startsWith("google/") ? gemmaPreview(sae, changes) : preview(sae, changes);
        return void reply({ ...made, device }, slow);
      }
      case "hub_action": {
        const ids = new Set(command.job_ids);
        const left = this.state.downloads.flatMap((card): DownloadCard[] => {
          if (!ids.has(card.id)) return [card];
          return command.action === "clear" ? [] : [{ ...card, status: NEXT[command.action] ?? card.status }];
        });
        this.setState({ downloads: left });
        return void reply({ job_ids: command.job_ids });
      }
      case "hub_download":
        return void reply({ job_ids: command.saes.map((_, i) => `new_${i}`) });
      default:
        return void reply(null);
    }
  }
}
