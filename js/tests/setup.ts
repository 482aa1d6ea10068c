import { cleanup, configure } from "@testing-library/preact";
import { afterEach } from "vitest";

// The message of a failed query would carry the whole page; a slow machine needs more than a second.
configure({ getElementError: (message) => new Error(message ?? ""), asyncUtilTimeout: 4000 });
afterEach(() => cleanup());
