/** *Publish*, opened in a card: where to, the model card before anything is sent, then the upload. */
import { useSignal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import { Checkbox, NoteBox } from "../lib/controls";
import * as f from "../lib/format";
import { AccessToken, Field, InlineForm } from "../lib/forms";
import { during } from "../lib/store";
import type { CardPreview, SaeCard } from "../lib/wire";
import type { Store } from "./store";

export function PublishForm({ store, card, onClose }: { store: Store; card: SaeCard; onClose: () => void }) {
  const [repository, setRepository] = useState("");
  const [isPrivate, setPrivate] = useState(true);
  const [found, setFound] = useState<{ name: string; preview: CardPreview } | null>(null);
  const looking = useSignal(false);
  const token = useRef<HTMLInputElement>(null); // what is typed there stays there
  const uploading = store.pending.value.get(card.id) === "publish";
  const name = repository.trim();
  const preview = found?.name === name ? found.preview : null;
  const submit = async () => {
    const about = { sae_id: card.id, repo_id: name, token: token.current?.value.trim() || null };
    if (preview) {
      if (await store.publish({ kind: "publish_sae", ...about, private: isPrivate })) onClose();
      return;
    }
    const asked = store.command(card.id, "Preview card", { kind: "preview_card", ...about });
    const answer = await during(looking, asked);
    setFound(answer && { name, preview: answer.value });
  };
  const kind = preview?.exists ? "" : `the new ${isPrivate ? "private" : "public"} repository `;
  const who = preview?.account ? ` as ${preview.account}` : "; the hub does not say who is signed in";
  const words = preview ? (uploading ? "Publishing…" : "Publish") : looking.value ? "Asking the hub…" : "Preview card";
  return (
    <InlineForm
      label={`Publish ${card.name}`}
      submit={words}
      disabled={uploading || looking.value || name === ""}
      onSubmit={() => submit()}
      onClose={onClose}
    >
      <Field
        class="grow"
        label="Repository"
        mono
        placeholder="owner/name"
        value={repository}
        onInput={setRepository}
        hint="On the Hugging Face hub; it is made if it does not exist"
      />
      <AccessToken class="grow" input={token} placeholder="from your sign-in" hint="needs write permission; not kept" />
      <Checkbox text="Private" checked={isPrivate} onChange={setPrivate} />
      {preview && (
        <div class="notes wide">
          {preview.exists && (
            <NoteBox tone="warn" title={`${name} exists.`}>
              Files of the same name are replaced. Its visibility stays, and so does its card if it has one.
            </NoteBox>
          )}
          <p class="sm t2" role="status">
            {`${uploading ? "Uploading " : ""}${f.bytes(card.size_bytes)} to ${kind}${name}${who}. Model card:`}
          </p>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable from the keyboard */}
          <section class="tall" aria-label="Model card" tabIndex={0}>
            <pre>{preview.card}</pre>
          </section>
        </div>
      )}
    </InlineForm>
  );
}
