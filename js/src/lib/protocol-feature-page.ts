/** What the extraction viewer's page gets about features: the second half of `protocol-features.ts`. */
import type { Note } from "./protocol";
import type { Histogram, SaeFact } from "./protocol-saes";

/** A feature in a list. Without a label its top tokens stand in for one. */
export interface FeatureRow {
  index: number;
  label: string;
  /** The label was not written by a person. */
  auto: boolean;
  top_tokens: string[];
  density: number;
  max: number;
  score: number | null;
  starred: boolean;
}

export interface FeatureRows {
  matching: number;
  offset: number;
  max_density: number;
  rows: FeatureRow[];
}

export interface FeaturePlace {
  index: number | null;
  row: number | null;
}

/** Its activations are `tokens.length` values of the answer's buffer, starting where the example before ended. */
export interface Example {
  position: number;
  value: number;
  peak: number;
  tokens: number[];
  before: boolean;
  after: boolean;
  offset: number;
  context: number;
  document: number | null;
}

export interface ExampleGroup {
  title: string;
  low: number | null;
  high: number | null;
  count: number;
  share: number | null;
  token_share: number | null;
  examples: Example[];
}

export interface FeatureLabel {
  text: string;
  description: string;
  source: "user" | "auto" | "imported";
  by: string;
  created_at: number;
}

export interface FeatureNotes {
  index: number;
  labels: FeatureLabel[];
  notes: string;
  starred: boolean;
}

export interface TokenCount {
  token: string;
  count: number;
  share: number;
  mean: number;
}

export interface FeaturePage {
  extraction_id: string;
  index: number;
  density: number;
  fired: number;
  n_tokens: number;
  max: number;
  mean: number;
  n_documents: number;
  documents: number;
  notes: FeatureNotes;
  row: FeatureRow;
  texts: string[];
  groups: ExampleGroup[];
  histogram: Histogram | null;
  tokens: TokenCount[];
  facts: SaeFact[];
  link: string;
  list_max: number;
}

export interface TokenLogit {
  token: string;
  logit: number;
}

export interface FeatureLogitsData {
  index: number;
  raises: TokenLogit[];
  lowers: TokenLogit[];
  histogram: Histogram | null;
  problem: Note | null;
}

export interface RelatedFeature {
  index: number;
  label: string;
  top_tokens: string[];
  value: number;
}

export interface FeatureRelationsData {
  index: number;
  similar: RelatedFeature[];
  coactive: RelatedFeature[];
  sampled: number;
  note: string;
  problem: Note | null;
}

/** What a feature adds to the loss on the token that follows, in nats; or why that is not known. */
export interface LossEffectData {
  index: number;
  effect: number | null;
  /** Of the model as it is. */
  loss: number | null;
  problem: Note | null;
}

export interface ExampleContext {
  position: number;
  peak: number;
  texts: string[];
  tokens: number[];
  /** Whether every activation is known; else only those near the peak. */
  complete: boolean;
  note: string;
}

export interface TestedText {
  index: number;
  texts: string[];
  tokens: number[];
  max: number;
  fired: number;
  seconds: number;
  note: string;
}

export interface PromptRow {
  index: number;
  label: string;
  auto: boolean;
  top_tokens: string[];
  density: number;
  max: number;
  /** In the extraction: what shades are relative to. */
  own_max: number;
}

export interface PromptReading {
  texts: string[];
  tokens: number[];
  rows: PromptRow[];
  firing: number;
  hidden: number;
  note: string;
}

export interface Suggestion {
  index: number;
  text: string;
  by: string;
  note: string;
}
