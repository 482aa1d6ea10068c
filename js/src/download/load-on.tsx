/** Where the SAE would be loaded: what the figures for memory are about. */
import { Pick } from "../lib/kit";
import type { HubPreviewData } from "../lib/wire";
import type { Finding } from "./listing";
import { places } from "./places";
import type { Store } from "./store";
import { deviceLabel } from "./words";

/** It moves between the figures and the warning that memory does not suffice; the focus goes with it. */
export function LoadOn({ store, finding, preview }: { store: Store; finding: Finding; preview: HubPreviewData }) {
  const { devices } = store.state.value;
  if (devices.length === 0) return null;
  return (
    <span class="row on" data-back={places("device", "start")}>
      <span class="t2" aria-hidden="true">
        Load on
      </span>
      <Pick
        label="Load on"
        value={finding.deviceId()}
        options={devices.map(({ id }) => ({ value: id, label: deviceLabel(preview, id) }))}
        onPick={(id) => finding.setDevice(id)}
      />
    </span>
  );
}
