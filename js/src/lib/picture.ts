/** Figures that Python drew as SVG: saved as PNG files. */
import { saveBlob } from "./copy";
import type { Rpc } from "./rpc";
import type { Picture } from "./wire";

/** Pixels of the file per pixel of the drawing: 1,920 for its 640, which is 16 cm at 300 dpi. */
const SCALE = 3;

/** Asks for the figures as they stand and offers each as a file. */
export async function savePictures(rpc: Rpc, figure: "charts" | "pareto", signal?: AbortSignal): Promise<void> {
  const answer = await rpc.send({ kind: "pictures", figure }, { signal });
  for (const picture of answer.value) {
    saveBlob(`${picture.name}.png`, await asPng(picture));
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
