import { normalise } from './normalise.ts';

/**
 * Aho–Corasick: a text is read once, unit by unit, however many words there are (D3). All words stand in one tree of
 * UTF-16 units. Where the text leaves the tree, the failure link leads to the node of the longest end of what was read that
 * begins a word, too. A text of n units costs at most 2n look-ups of a child.
 *
 * The tree is flat: per node its parent, its unit, its failure link and the word that ends there, and one hash table from
 * (parent, unit) to the child. About 40 bytes a node, and a node at most for each unit of the words.
 */
export interface Matcher {
  /** Words that it looks for. */
  readonly words: number;
  readonly bytes: number;
  /** The word of the occurrence that ends first in a normalised text, the longest of several that end there; undefined: none. */
  find(normalised: string): string | undefined;
  /** Slots of the hash table that were looked at so far: what finding costs. */
  steps(): number;
}

/** Nodes, or words to be normalised, between two pauses of {@link building}: about a millisecond. */
const nodesAPause = 4_000;
const wordsAPause = 1_000;
const root = 0;
const none = -1;

/** Builds a matcher at once. */
export function buildMatcher(words: readonly string[]): Matcher {
  const steps = building(words);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Builds a matcher in steps of about a millisecond, for whoever must not be kept waiting meanwhile. */
export function* building(words: readonly string[]): Generator<void, Matcher> {
  const tree = createTree();
  let longest = 0;
  let paused = 0;
  for (const [index, word] of words.entries()) {
    const units = normalise(word);
    // Nothing to find; it would be found everywhere.
    if (units.length === 0) continue;
    longest = Math.max(longest, units.length);
    tree.insert(units, index);
    if (tree.size() - paused > nodesAPause || index % wordsAPause === wordsAPause - 1) {
      paused = tree.size();
      yield;
    }
  }
  const order = tree.byDepth(longest);
  for (let at = 0; at < order.length; at += nodesAPause) {
    tree.link(order.subarray(at, at + nodesAPause));
    yield;
  }
  return createMatcher(words, tree);
}

type Tree = ReturnType<typeof createTree>;

function createTree() {
  let capacity = 64;
  let size = 1;
  let parents = new Int32Array(capacity);
  let units = new Uint16Array(capacity);
  let failures = new Int32Array(capacity);
  let outputs = new Int32Array(capacity).fill(none);
  let depths = new Uint16Array(capacity);
  /** Four slots a node at least, so that a look-up takes one or two; 0 is free, as the root is nobody's child. */
  let slots = new Int32Array(capacity * 4);

  function slotOf(node: number, unit: number): number {
    const mask = slots.length - 1;
    let hash = Math.imul(node ^ Math.imul(unit, 0x9e3779b1), 0x85ebca6b);
    hash ^= hash >>> 15;
    let at = hash & mask;
    for (;;) {
      const found = slots[at] as number;
      if (found === 0 || (parents[found] === node && units[found] === unit)) return at;
      at = (at + 1) & mask;
    }
  }

  function grow(): void {
    capacity *= 2;
    parents = resized(parents, new Int32Array(capacity));
    units = resized(units, new Uint16Array(capacity));
    failures = resized(failures, new Int32Array(capacity));
    outputs = resized(outputs, new Int32Array(capacity).fill(none));
    depths = resized(depths, new Uint16Array(capacity));
    slots = new Int32Array(capacity * 4);
    for (let node = 1; node < size; node += 1) {
      slots[slotOf(parents[node] as number, units[node] as number)] = node;
    }
  }

  function addChild(node: number, unit: number): number {
    if (size === capacity) grow();
    parents[size] = node;
    units[size] = unit;
    depths[size] = (depths[node] as number) + 1;
    slots[slotOf(node, unit)] = size;
    size += 1;
    return size - 1;
  }

  function childOf(node: number, unit: number): number {
    return slots[slotOf(node, unit)] as number;
  }

  return {
    size: () => size,
    insert(word: string, index: number): void {
      let node = root;
      for (let i = 0; i < word.length; i += 1) {
        const unit = word.charCodeAt(i);
        node = childOf(node, unit) || addChild(node, unit);
      }
      // Of two words that are the same once normalised, the first is told.
      if (outputs[node] === none) outputs[node] = index;
    },
    /** All nodes but the root, shallow ones first. */
    byDepth(longest: number): Int32Array {
      const starts = new Int32Array(longest + 2);
      for (let node = 1; node < size; node += 1) {
        const next = (depths[node] as number) + 1;
        starts[next] = (starts[next] as number) + 1;
      }
      for (let depth = 1; depth < starts.length; depth += 1) {
        starts[depth] = (starts[depth] as number) + (starts[depth - 1] as number);
      }
      const order = new Int32Array(size - 1);
      for (let node = 1; node < size; node += 1) {
        const depth = depths[node] as number;
        const at = starts[depth] as number;
        order[at] = node;
        starts[depth] = at + 1;
      }
      return order;
    },
    /** Sets failure links; those of shallower nodes are set. A node whose failure link leads to the end of a word ends that word, too. */
    link(nodes: Int32Array): void {
      for (const node of nodes) {
        const parent = parents[node] as number;
        const unit = units[node] as number;
        let failure = root;
        for (let at = parent; at !== root && failure === root; ) {
          at = failures[at] as number;
          failure = childOf(at, unit);
        }
        failures[node] = failure;
        if (outputs[node] === none) outputs[node] = outputs[failure] as number;
      }
    },
    finished: () => ({
      parents: parents.slice(0, size),
      units: units.slice(0, size),
      failures: failures.slice(0, size),
      outputs: outputs.slice(0, size),
      slots,
    }),
  };
}

function createMatcher(words: readonly string[], tree: Tree): Matcher {
  const { parents, units, failures, outputs, slots } = tree.finished();
  const mask = slots.length - 1;
  let steps = 0;
  return {
    words: words.length,
    bytes: parents.byteLength + units.byteLength + failures.byteLength + outputs.byteLength + slots.byteLength,
    steps: () => steps,
    find(text) {
      let node = root;
      let looked = 0;
      for (let i = 0; i < text.length; i += 1) {
        const unit = text.charCodeAt(i);
        for (;;) {
          // As `slotOf`, here once more because this is the hot path.
          let hash = Math.imul(node ^ Math.imul(unit, 0x9e3779b1), 0x85ebca6b);
          hash ^= hash >>> 15;
          let at = hash & mask;
          let child = slots[at] as number;
          looked += 1;
          while (child !== 0 && !(parents[child] === node && units[child] === unit)) {
            at = (at + 1) & mask;
            child = slots[at] as number;
            looked += 1;
          }
          if (child !== 0) {
            node = child;
            break;
          }
          if (node === root) break;
          node = failures[node] as number;
        }
        const output = outputs[node] as number;
        if (output !== none) {
          steps += looked;
          return words[output];
        }
      }
      steps += looked;
      return undefined;
    },
  };
}

function resized<T extends Int32Array | Uint16Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
