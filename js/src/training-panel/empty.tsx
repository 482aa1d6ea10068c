/** First run: what it needs, one line of code, one button. */
import { useState } from "preact/hooks";
import { Button } from "../lib/controls";
import { CopyButton } from "../lib/copy-button";
import { Empty as EmptyBox, put } from "../lib/kit";
import type { Store } from "./store";

const DEMO_CODE = `run = ws.trainings.create(sw.TrainingConfig(
    model="demo",
    corpus="demo",
    hook_name="blocks.0.hook_resid_post",
    sae=sw.TopKConfig(d_sae=4_096, k=32),
    optimizer=sw.OptimizerConfig(lr=2.5e-3),
    batch_size=1_024,
    tokens=2_600_000,
))`;

export function Empty({ store }: { store: Store }) {
  const [starting, setStarting] = useState(false);
  const start = async () => {
    setStarting(true);
    await store.trainDemo();
    setStarting(false);
  };
  const actions = (
    <>
      <Button
        text={starting ? "Starting…" : "Train the demo"}
        kind="primary"
        icon="play"
        disabled={starting}
        onClick={() => void start()}
      />
      <Button text="New training" icon="plus" onClick={put(store.form, {})} />
      <CopyButton text={DEMO_CODE} word="Copy code" large />
    </>
  );
  return (
    <EmptyBox title="No trainings yet" actions={actions}>
      <p>
        Train a sparse autoencoder on a small built-in language model: about 3 minutes on two CPU cores, no network. Or
        choose your own model, dataset and layer.
      </p>
      <pre>{DEMO_CODE}</pre>
    </EmptyBox>
  );
}
