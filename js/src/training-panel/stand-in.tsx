/** The figures as pictures, where the page cannot load bqplot's part and nothing stands below this one. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "../lib/ask";
import { asUrl } from "../lib/picture";
import type {} from "../lib/wire";
import type { Store } from "./store";

export const LOOK_EVERY = 2000; // ms

interface StandInProps {
  store: Store;
  figure: "charts" | "pareto";
}

export function StandIn({ store, figure }: StandInProps) {
  const here = useRef<HTMLDivElement>(null);
  const [revision, setRevision] = useState(0); // of the state that the pictures show; 0: none are needed
  useEffect(() => {
    const look = () => {
      const drawn = here.current?.closest(".sw-frame")?.querySelector(".bqplot");
      setRevision(drawn ? 0 : store.state.value.revision);
    };
    const timer = setInterval(look, LOOK_EVERY);
    return () => clearInterval(timer);
  }, [store]);
  return (
    <div ref={here} class="stand-in">
      {revision > 0 && <Pictures store={store} figure={figure} revision={revision} />}
    </div>
  );
}

function Pictures({ store, figure, revision }: StandInProps & { revision: number }) {
  const { data } = useAnswer(store.rpc, { kind: "pictures", figure }, `${revision}`);
  return data?.map(({ name, svg }) => <img key={name} src={asUrl(svg)} alt={name} />);
}
