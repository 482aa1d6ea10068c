/** Which tokens a feature makes more and less likely. */
import { Button, NoteBox } from "../lib/controls";
import { placed } from "../lib/notes";
import { TokenChip } from "../lib/token-chip";
import type { TokenLogit } from "../lib/wire";
import type { FeatureView } from "./feature";
import { LogitEffects } from "./figures";
import { signed } from "./words";

/** The histogram, or where it will be. */
export function LogitFigure({ feature }: { feature: FeatureView }) {
  const { data, problem, busy } = feature.logits.value;
  const known = data?.problem ?? problem;
  return (
    <div aria-busy={busy}>
      {data?.histogram ? (
        <>
          <LogitEffects data={data.histogram} />
          {data.problem && <p class="xs t2">{placed(data.problem)}</p>}
        </>
      ) : (
        <div class="no-fig g4">
          <b class="sm">Logit effects</b>
          {known ? (
            <NoteBox
              title={placed(known)}
              actions={
                <Button small onClick={() => feature.askLogits()}>
                  Try again
                </Button>
              }
            >
              {known.hint}
            </NoteBox>
          ) : (
            <p class="sm t2 waiting" role="status">
              {busy ? "Reading the unembedding…" : ""}
            </p>
          )}
        </div>
      )}
    </div>
  );
}

export function LogitTables({ feature }: { feature: FeatureView }) {
  const { data } = feature.logits.value;
  if (!data || (data.raises.length === 0 && data.lowers.length === 0)) return null;
  const most = Math.max(...[...data.raises, ...data.lowers].map(({ logit }) => Math.abs(logit)), 1e-12);
  return (
    <div class="lgt">
      <Side title="Raises the logit of" rows={data.raises} most={most} sign="pos" />
      <Side title="Lowers the logit of" rows={data.lowers} most={most} sign="neg" />
    </div>
  );
}

interface SideProps {
  title: string;
  rows: readonly TokenLogit[];
  most: number;
  sign: "pos" | "neg";
}

function Side({ title, rows, most, sign }: SideProps) {
  return (
    <div>
      <h3>{title}</h3>
      <ol aria-label={title}>
        {rows.slice(0, 10).map(({ token, logit }, i) => (
          <li key={`${i} ${token}`}>
            <TokenChip text={token} />
            <span class="mb" aria-hidden="true">
              <i class={sign} style={{ width: `${(Math.abs(logit) / most) * 100}%` }} />
            </span>
            <span class="num">{signed(logit)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
