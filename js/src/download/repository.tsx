/** Any repository: where to look, what is there, what is chosen. */
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { Button } from "../lib/controls";
import * as f from "../lib/format";
import { Empty, FieldBox, into, NothingMatches, put, Search } from "../lib/kit";
import { DownloadBar } from "./bar";
import { columnsOf, keyOf, searched } from "./listing";
import { places } from "./places";
import { PreviewPane } from "./preview";
import { FailedNote, Looking, Problems } from "./problems";
import type { Store } from "./store";
import { Variants } from "./variants";
import { formatWords } from "./words";

export function AnyRepository({ store }: { store: Store }) {
  const { any } = store;
  const nothing = any.listing.value === null && any.looking.value === null && any.failed.value === null;
  return (
    <>
      <Where store={store} />
      <Looking finding={any} />
      <FailedNote failed={any.failed.value} again={() => void store.preview()} onDismiss={() => any.clear()} />
      <Problems store={store} finding={any} again={() => void store.preview()} />
      {nothing && <Nothing store={store} />}
      {any.rows.value.length > 0 && <Found store={store} />}
    </>
  );
}

/** Enter in a box does what the button beside it does. */
const onEnter = (store: Store) => (event: KeyboardEvent) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  void store.preview();
};

function Where({ store }: { store: Store }) {
  return (
    <div class="bd where">
      <Repository store={store} />
      <Token store={store} />
      <div class="go">
        <Button text="Preview" kind="primary" onClick={() => void store.preview()} />
      </div>
    </div>
  );
}

const HELP = {
  repository:
    "A model repository of the hub. After the name may follow @ and a branch, tag or commit, or a folder. " +
    "Links copied from the hub work, and so do SAELens names (release, or release/id).",
  token:
    "For private and gated repositories. It goes to the kernel when you press Preview, stays in its memory until " +
    "this widget is closed, and is written nowhere. Without one, the sign-in of huggingface_hub is used.",
};

function Repository({ store }: { store: Store }) {
  const input = useRef<HTMLInputElement>(null);
  const unnamed = store.unnamed.value;
  useLayoutEffect(() => {
    if (unnamed) input.current?.focus();
  }, [unnamed]);
  return (
    <FieldBox
      label="Repository"
      class="wide"
      help={HELP.repository}
      alert
      error={unnamed ? "No repository is named. Enter owner/name, or choose one of the known repositories." : undefined}
      hint="owner/name, owner/name@revision, a sub-folder, or a pasted link"
    >
      {(control) => (
        <input
          {...control}
          ref={input}
          type="text"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          value={store.repository.value}
          onInput={(event) => {
            store.repository.value = event.currentTarget.value;
            store.unnamed.value = false;
          }}
          onKeyDown={onEnter(store)}
        />
      )}
    </FieldBox>
  );
}

function Token({ store }: { store: Store }) {
  const input = useRef<HTMLInputElement>(null);
  const kept = store.state.value.has_token;
  useEffect(() => {
    store.takeToken = () => {
      const text = input.current?.value.trim() ?? "";
      if (input.current) input.current.value = "";
      return text;
    };
    return () => {
      store.takeToken = () => "";
    };
  }, [store]);
  const forget = (
    <span data-back={places("token")}>
      {" · "}
      <Button text="Forget token" kind="link" onClick={() => void store.forgetToken()} />
    </span>
  );
  return (
    <FieldBox label="Access token" help={HELP.token} hint={<>kept in memory only{kept && forget}</>}>
      {(control) => (
        <input
          {...control}
          ref={input}
          type="password"
          autocomplete="off"
          spellcheck={false}
          data-1p-ignore=""
          data-lpignore="true"
          data-bwignore="true"
          onKeyDown={onEnter(store)}
          placeholder={kept ? "one is kept in memory" : "from your sign-in"}
        />
      )}
    </FieldBox>
  );
}

const Nothing = ({ store }: { store: Store }) => (
  <div data-back={places("tab")}>
    <Empty
      title="Nothing chosen yet"
      actions={
        <>
          <Button onClick={put(store.tab, "gemma")}>Browse Gemma Scope</Button>
          <Button onClick={put(store.tab, "known")}>Known repositories</Button>
        </>
      }
    >
      Paste a repository to see which SAEs it holds, their size and whether they fit this machine. Weights are fetched
      only when you press Download.
    </Empty>
  </div>
);

function Found({ store }: { store: Store }) {
  const { any } = store;
  const rows = any.rows.value;
  const shown = searched(rows, store.search.value);
  const chosen = rows.filter((row) => store.checked.value.has(keyOf(row)));
  const formats = [...new Set(rows.map((row) => row.format))];
  const total = any.listing.value?.total ?? rows.length;
  return (
    <>
      <div class="tb line">
        <h3>{`${f.plural(total, "SAE")} found`}</h3>
        {formats.length === 1 && <span class="bg">{`${formatWords(formats[0] as string)} format`}</span>}
        <span class="sm t2 hw">
          {rows.length < total
            ? `${f.count(rows.length)} of them listed so far…`
            : shown.length < rows.length
              ? `${f.count(shown.length)} match`
              : ""}
        </span>
        <div class="sp" />
        <Search label="Search variants" placeholder="Filter" value={store.search.value} onInput={into(store.search)} />
      </div>
      {shown.length > 0 ? (
        <Variants store={store} rows={shown} columns={columnsOf(rows)} />
      ) : (
        <NothingMatches noun="SAE" onClear={put(store.search, "")}>
          {`None of the ${f.plural(rows.length, "SAE")} matches “${store.search.value.trim()}”.`}
        </NothingMatches>
      )}
      <PreviewPane store={store} finding={any} rows={chosen} />
      <DownloadBar
        store={store}
        finding={any}
        rows={chosen}
        words={chosen.length === 0 ? "Choose the SAEs to download" : `${f.plural(chosen.length, "SAE")} chosen`}
        onStarted={() => store.check(chosen, false)}
      />
    </>
  );
}
