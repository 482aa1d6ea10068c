import { defineConfig } from "vitest/config";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  test: { maxWorkers: 1, isolate: false, restoreMocks: true, unstubGlobals: true, environment: "happy-dom", testTimeout: 20_000, include: ["js/tests/**/*.test.{ts,tsx}"], setupFiles: ["js/tests/setup.ts"] },
});
