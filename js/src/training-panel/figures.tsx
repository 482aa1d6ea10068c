/** The figures as pictures, where the page cannot load bqplot's part and nothing stands below this one. */
import { useEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "../lib/ask";
import { saveBlob, saveFile } from "../lib/copy";
import type { Rpc } from "../lib/rpc";
import type { Picture } from "../lib/wire";
import type { Store } from "./store";

/** Pixels of the file per pixel of the drawing: 1,920 for its 640, which is 16 cm at 300 dpi. */
const SCALE = 3;

export async function savePictures(
  rpc: Rpc,
  figure: "charts" | "pareto",
  signal?: AbortSignal,
  format: "PNG" | "SVG" = "PNG",
): Promise<void> {
  const answer = await rpc.send({ kind: "pictures", figure }, { signal });
  for (const picture of answer.value) {
    if (format === "PNG") saveBlob(`${picture.name}.png`, await asPng(picture));
    else saveFile(`${picture.name}.svg`, picture.svg, "image/svg+xml");
  }
}

/** As an image, SVG runs no script and loads nothing. */
export const asUrl = (svg: string): string => `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;

async function asPng({ svg, width, height }: Picture): Promise<Blob> {
  const image = new Image(width * SCALE, height * SCALE);
  image.src = asUrl(svg);
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = width * SCALE;
  canvas.height = height * SCALE;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This page cannot draw pictures: it has no canvas.");
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The page made no PNG of it."))), "image/png"),
  );
}

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
