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
  const [license, setLicense] = useState("");
  const [base, setBase] = useState("");
  const [isPrivate, setPrivate] = useState(true);
  const [found, setFound] = useState<{ asked: string; preview: CardPreview; text: string } | null>(null);
  const looking = useSignal(false);
  const token = useRef<HTMLInputElement>(null); // what is typed there stays there
  const uploading = store.pending.value.get(card.id) === "publish";
  const name = repository.trim();
  const about = { sae_id: card.id, repo_id: name, license: license.trim(), base_model: base.trim() };
  const asked = JSON.stringify(about);
  const preview = found?.asked === asked ? found.preview : null;
  const submit = async () => {
    const signed = { ...about, token: token.current?.value.trim() || null };
    if (preview && found) {
      const text = found.text === preview.card ? null : found.text; // an edited card replaces one that is there
      if (await store.publish({ kind: "publish_sae", ...signed, private: isPrivate, card: text })) onClose();
      return;
    }
    const answer = await during(looking, store.command(card.id, "Preview card", { kind: "preview_card", ...signed }));
    setFound(answer && { asked, preview: answer.value, text: answer.value.card });
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
      <Field
        class="grow"
        label="Base model"
        mono
        placeholder="owner/name"
        value={base}
        onInput={setBase}
        hint="The SAE's model on the hub; leave it empty if it was loaded from there"
      />
      <Field
        class="grow"
        label="Licence"
        mono
        placeholder="unknown"
        value={license}
        onInput={setLicense}
        hint="As the hub spells it, such as mit or apache-2.0"
      />
      <AccessToken class="grow" input={token} placeholder="from your sign-in" hint="needs write permission; not kept" />
      <Checkbox text="Private" checked={isPrivate} onChange={setPrivate} />
      {preview && (
        <div class="notes wide">
          {preview.exists && (
            <NoteBox tone="warn" title={`${name} exists.`}>
              Files of the same name are replaced. Its visibility stays, and so does its card, unless you edit the one
              below.
            </NoteBox>
          )}
          {preview.asks_base && (
            <NoteBox tone="warn" title="The SAE's model is a folder of this machine.">
              Enter its id on the hub as base model, so that others can find it. Without it the card names the folder
              only.
            </NoteBox>
          )}
          <p class="sm t2" role="status">
            {`${uploading ? "Uploading " : ""}${f.bytes(card.size_bytes)} to ${kind}${name}${who}. Model card:`}
          </p>
          <textarea
            class="mono"
            rows={14}
            aria-label="Model card"
            value={found?.text}
            onInput={(event) => found && setFound({ ...found, text: event.currentTarget.value })}
          />
        </div>
      )}
    </InlineForm>
  );
}
