/** Header, tabs, the chosen tab, and the downloads below it. */
import { useUid } from "../lib/a11y";
import { Tabs, tabId } from "../lib/controls";
import { type KeyRow, Keys } from "../lib/keys";
import { WidgetNotes } from "../lib/notes";
import { Downloads } from "./downloads";
import { GemmaScope } from "./gemma";
import { Known } from "./known";
import { AnyRepository } from "./repository";
import type { Store, TabId } from "./store";
import { anythingRuns } from "./words";

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
        {who && (
          <span class="sm t2 sub el" title={who}>
            {who}
          </span>
        )}
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
          onSelect={(id) => {
            store.tab.value = id as TabId;
          }}
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
