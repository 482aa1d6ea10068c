import { afterEach, expect, it, vi } from "vitest";
import { FakeModel, fullState } from "../../demo/runs";
import { Rpc } from "../../src/lib/rpc";
import { savePictures } from "../../src/training-panel/figures";

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

it("offers each figure as a PNG three times its size", async () => {
  const sizes: [number, number][] = [];
  const names: string[] = [];
  const sources: string[] = [];
  vi.stubGlobal(
    "Image",
    class {
      set src(value: string) {
        sources.push(value);
      }
      decode = async () => undefined;
    },
  );
  vi.stubGlobal("URL", { ...URL, createObjectURL: (blob: Blob) => `blob:${blob.type}`, revokeObjectURL() {} });
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation((() => ({ drawImage() {} })) as never);
  vi.spyOn(HTMLCanvasElement.prototype, "toBlob").mockImplementation(function (this: HTMLCanvasElement, done, type) {
    sizes.push([this.width, this.height]);
    done(new Blob(["png"], { type }));
  });
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    names.push(`${this.download} ${this.getAttribute("href")}`);
  });
  const rpc = new Rpc(new FakeModel(fullState()));
  await savePictures(rpc, "charts");
  expect(names).toEqual(["loss", "l0", "fvu"].map((name) => `${name}.png blob:image/png`));
  expect(sizes).toEqual([
    [1920, 1200],
    [1920, 1200],
    [1920, 1200],
  ]);
  expect(decodeURIComponent(sources[0] ?? "")).toContain('<svg xmlns="http://www.w3.org/2000/svg"');
  rpc.close();
});
