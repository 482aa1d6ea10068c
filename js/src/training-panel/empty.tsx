/** First run: what it needs, one line of code, one button. */

import { useState } from "preact/hooks";
import { Button } from "../lib/controls";
import { copyText } from "../lib/copy";
import { put } from "../lib/kit";
import type { Store } from "./store";

export const DEMO_CODE = `run = ws.trainings.create(sw.TrainingConfig(
    model="demo",
    corpus="demo",
    hook_name="blocks.0.hook_resid_post",
    sae=sw.TopKConfig(d_sae=4_096, k=32),
    optimizer=sw.OptimizerConfig(lr=2.5e-3),
    batch_size=1_024,
    tokens=2_600_000,
))`;

export function Empty({ store }: { store: Store }) {
  const [copied, setCopied] = useState<boolean | null>(null);
  const [starting, setStarting] = useState(false);
  const start = async () => {
    setStarting(true);
    await store.trainDemo();
    setStarting(false);
  };
  return (
    <div class="empty">
      <h3>No trainings yet</h3>
      <p>
        Train a sparse autoencoder on a small built-in language model: about 3 minutes on two CPU cores, no network. Or
        choose your own model, dataset and layer.
      </p>
      <pre>{DEMO_CODE}</pre>
      <div class="row w">
        <Button kind="primary" icon="play" disabled={starting} onClick={() => void start()}>
          {starting ? "Starting…" : "Train the demo"}
        </Button>
        <Button icon="plus" onClick={put(store.form, {})}>
          New training
        </Button>
        <Button kind="quiet" icon="copy" onClick={async () => setCopied(await copyText(DEMO_CODE))}>
          Copy code
        </Button>
        {copied !== null && (
          <span class="sm t2" role="status">
            {copied ? "Copied" : "This page may not use the clipboard: select the code and copy it by hand"}
          </span>
        )}
      </div>
    </div>
  );
}
