export interface BenchOptions {
  /** Fewer requests and rounds: shows that everything works, not how fast it is. */
  quick: boolean;
  /** Tells the user how far it is. */
  progress: (line: string) => void;
}

/** Measures and gives back Markdown: what is compared, samples, spread and ratio. */
export type Question = (options: BenchOptions) => Promise<string>;
