/** Header, tabs, the chosen tab, and the downloads below it. */

import { useEffect, useState } from "preact/hooks";
import { useUid } from "../lib/a11y";
import { Button, Cut, NoteBox, Tabs, tabId } from "../lib/controls";
import * as f from "../lib/format";
import { type KeyRow, Keys, mountWidget } from "../lib/host";
import { placeIn } from "../lib/keep-focus";
import { Buttons, Card, Facts, into, Linked, NothingMatches, Progress, put, Search, StatusWord } from "../lib/kit";
import { CardNotes, WidgetNotes } from "../lib/notes";
import type { Model } from "../lib/rpc";
import { hasProgressBar, isActive, isUnderWay, statusOf } from "../lib/statuses";
import type { DownloadCard, KnownRepo } from "../lib/wire";
import { GemmaScope } from "./gemma";
import { places } from "./problems";
import { AnyRepository } from "./repository";
import { Store } from "./store";
import {
  anythingRuns,
  buttonsFor,
  type CardAction,
  ended,
  formatWords,
  progressLine,
  siteWords,
  wordFor,
} from "./words";

const KEYS: readonly KeyRow[] = [
  [["/"], "search, or name a repository"],
  [["?"], "show or hide the keys"],
  [["Esc"], "empty the search, close what is open; then leave"],
  [["Enter"], "in a box: look into the repository"],
  [["Space"], "press, check"],
  [["←", "→"], "previous, next tab or choice"],
];

export function Widget({ store }: { store: Store }) {
  const panel = useUid("sw-download");
  const known = store.known.value?.repositories.length ?? store.state.value.known;
  const { account, has_token, embedded } = store.state.value;
  const who = account ? `signed in as ${account}` : has_token ? "access token in memory" : "";
  const tab = store.tab.value;
  return (
    <>
      <div class={`hd${embedded ? " in" : ""}`}>
        <h2>Download from Hugging Face</h2>
        <div class="sp" />
        {who && <Cut class="sm t2 sub" text={who} />}
      </div>
      <div class="tb">
        <Tabs
          label="Where to look"
          panel={panel}
          tabs={[
            { id: "repository", label: "Any repository" },
            { id: "gemma", label: "Gemma Scope" },
            { id: "known", label: "Known repositories", count: known || undefined },
          ]}
          selected={tab}
          onSelect={into(store.tab)}
        />
      </div>
      <Notes store={store} />
      <Keys rows={KEYS} where="the widget" shown={store.keysShown} />
      <div role="tabpanel" id={panel} aria-labelledby={tabId(panel, tab)} aria-busy={store.isLooking(tab)}>
        {tab === "repository" && <AnyRepository store={store} />}
        {tab === "gemma" && <GemmaScope store={store} />}
        {tab === "known" && <Known store={store} />}
      </div>
      <Downloads store={store} />
    </>
  );
}

function Notes({ store }: { store: Store }) {
  const ids = ["token", "list", "preview", "download", "downloads"];
  if (store.link.value === "live") ids.push("known"); // without a kernel nothing else is to be said of it
  return <WidgetNotes store={store} noun="widget" quiet={!anythingRuns(store.state.value.downloads)} ids={ids} />;
}

export function Known({ store }: { store: Store }) {
  const data = store.known.value;
  useEffect(() => void store.loadKnown(), [store]); // again, where there was no kernel to ask at first
  const search = store.knownSearch.value;
  const found = f.finder(search);
  const rows = (data?.repositories ?? []).filter((row) => found(textOf(row)));
  return (
    <>
      <div class="tb">
        <span class="sm t2">{data ? "Public repositories whose format is known here" : "Asking the kernel…"}</span>
        <div class="sp" />
        <Search
          label="Search known repositories"
          placeholder="Name, model, site"
          value={search}
          onInput={into(store.knownSearch)}
        />
      </div>
      {data && rows.length === 0 && (
        <NothingMatches noun="repository" onClear={put(store.knownSearch, "")}>
          {`None of the ${data.repositories.length} known repositories matches “${search.trim()}”.`}
        </NothingMatches>
      )}
      {rows.length > 0 && (
        <ul class="lst known" aria-label="Known repositories" data-back={places("repository", "release", "tab")}>
          {rows.map((row) => (
            <Repository key={row.repo_id} store={store} row={row} />
          ))}
        </ul>
      )}
    </>
  );
}

function Repository({ store, row }: { store: Store; row: KnownRepo }) {
  const widths = row.widths.length ? `widths ${row.widths.join(", ")}` : "";
  const layers = row.layers ? `layers ${row.layers}` : "";
  return (
    <Card
      of={{ name: row.repo_id }}
      shownName={row.name || row.repo_id}
      badges={
        <>
          {row.format && <span class="bg">{formatWords(row.format)}</span>}
          {row.gated_model && <span class="bg">gated model</span>}
        </>
      }
      buttons={<Button text="Browse" small onClick={() => store.browseKnown(row)} />}
    >
      <Facts of={[<code key="id">{row.repo_id}</code>, row.model]} />
      <Facts of={[row.sites.map(siteWords).join(", "), layers, widths]} />
    </Card>
  );
}

const textOf = ({ repo_id, name, model, format, sites, widths }: KnownRepo): string =>
  [repo_id, name, model, formatWords(format), ...sites, ...sites.map(siteWords), ...widths].join(" ");

export function Downloads({ store }: { store: Store }) {
  const { downloads } = store.state.value;
  if (downloads.length === 0) return null;
  const active = downloads.filter((card) => isActive(card) || statusOf(card) === "paused").length;
  const over = ended(downloads);
  return (
    <>
      <div class="tb line">
        <h3>Downloads</h3>
        <span class="sm t2">{active > 0 ? `${f.count(active)} active` : "none active"}</span>
        <div class="sp" />
        {over.length > 0 && (
          <span data-back={`[aria-label="Downloads"] > .card button | ${places("tab")}`}>
            <Button text="Clear finished" small kind="quiet" onClick={() => store.act("clear", over)} />
          </span>
        )}
      </div>
      <ul class="lst" aria-label="Downloads">
        {downloads.map((card) => (
          <Item key={card.id} store={store} card={card} />
        ))}
      </ul>
    </>
  );
}

function Item({ store, card }: { store: Store; card: DownloadCard }) {
  const status = statusOf(card);
  const live = store.link.value === "live";
  const { note } = card;
  const wait = useCountdown(card.wait_seconds, card.attempt);
  const pending = store.pending.value.get(card.id);
  const press = (action: CardAction) => {
    if (action === "open") store.openSae(card);
    else void store.act(action, [card]);
  };
  return (
    <Card
      of={{ name: card.name }}
      lead={<StatusWord status={status} word={wordFor(status)} />}
      buttons={<Buttons of={buttonsFor(card, store.state.value.can_open, pending)} onPress={press} />}
      busy={isUnderWay(card, pending)}
      notes={
        <CardNotes store={store} id={card.id}>
          {note && status !== "paused" && (
            <NoteBox tone={status === "failed" ? "err" : status === "interrupted" ? "int" : "plain"} title={note.what}>
              <Linked text={note.hint ?? ""} />
            </NoteBox>
          )}
        </CardNotes>
      }
    >
      {hasProgressBar(card) && <Progress label={`Download of ${card.name}`} fraction={card.fraction} status={status} />}
      <Facts of={progressLine({ ...card, wait_seconds: wait }, live)} />
    </Card>
  );
}

/** Seconds that are left of a wait; `attempt` tells one wait from the next of the same length. */
function useCountdown(seconds: number | null, attempt: number | null): number | null {
  const [left, setLeft] = useState(seconds);
  useEffect(() => {
    setLeft(seconds);
    if (seconds === null || seconds <= 0) return;
    const end = performance.now() + seconds * 1000;
    const timer = setInterval(() => setLeft(Math.max(0, (end - performance.now()) / 1000)), 1000);
    return () => clearInterval(timer);
  }, [seconds, attempt]);
  return left;
}

export function renderDownload(model: Model, parent: HTMLElement, stop: AbortSignal): void {
  const store = new Store(model, parent, stop);
  const options = {
    label: "Download from Hugging Face",
    frame: store.state.value.embedded ? "part" : "whole",
    close: () => store.closeInnermost(),
    letters: (root: HTMLElement) => ({ "/": () => placeIn(root, places("search", "repository", "release"))?.focus() }),
  } as const;
  mountWidget(model, parent, store, options, <Widget store={store} />);
  void store.loadKnown();
  if (store.repository.value) void store.preview();
}
