/** Where the SAE would be loaded: what the figures for memory are about. */

import { Pick } from "../lib/kit";
import type { HubPreviewData } from "../lib/wire";
import type { Finding } from "./listing";
import type { Store } from "./store";
import { toPlace, useWayBack } from "./way-back";
import { deviceLabel } from "./words";

interface LoadOnProps {
  store: Store;
  finding: Finding;
  preview: HubPreviewData;
}

export function LoadOn(props: LoadOnProps) {
  return props.store.state.value.devices.length > 0 ? <Devices {...props} /> : null;
}

/** It moves between the figures and the warning that memory does not suffice; the focus goes with it. */
function Devices({ store, finding, preview }: LoadOnProps) {
  const { devices } = store.state.value;
  const box = useWayBack<HTMLSpanElement>(toPlace("device", "start"));
  return (
    <span ref={box} class="row on">
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
