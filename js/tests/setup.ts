import { cleanup, configure } from "@testing-library/preact";
import { afterEach } from "vitest";
import { open } from "./harness";

// The message of a failed query would carry the whole page; a slow machine needs more than a second.
configure({ getElementError: (message) => new Error(message ?? ""), asyncUtilTimeout: 4000 });
afterEach(() => {
  cleanup();
  for (const close of open.splice(0)) close();
  globalThis.document?.body.replaceChildren(); // tests of plain functions have no page
});
