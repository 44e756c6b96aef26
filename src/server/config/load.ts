import { networkInterfaces } from 'node:os';
import { checkValue, type Finding } from './check.ts';
import { type Config, toConfig } from './config.ts';
import { fileVariable, overlayEnvironment } from './environment.ts';
import { formatPath, type Path, type Problem } from './problem.ts';
import { checkRelations, checkWholeApps, type WithGaps } from './relations.ts';
import { ConfigSchema, type Settings } from './schema.ts';
import { resolveSecretFiles } from './secret-files.ts';
import { readYamlFile, type YamlFile } from './yaml-file.ts';

/** Where a field's value came from. `secretFile`: the file or variable named only the file that holds it. */
export interface Source {
  from: 'default' | 'file' | 'env';
  variable?: string;
  secretFile?: string;
}

export interface LoadOptions {
  /** Path of the YAML file; `QALGATE_CONFIG` unless given; without either there is none. */
  file?: string | undefined;
  env: Readonly<Record<string, string | undefined>>;
}

export type LoadResult =
  | { ok: true; config: Config; settings: Settings; sources: (path: Path) => Source; file: string | undefined }
  | { ok: false; problems: Problem[] };

/**
 * Reads the configuration: defaults, below the YAML file, below `QALGATE_*` variables, with secrets read from their
 * files. Collects everything that is wrong, not only the first.
 */
export function loadConfig(options: LoadOptions): LoadResult {
  const file = options.file ?? (options.env[fileVariable] || undefined);
  const read = file === undefined ? undefined : readYamlFile(file);
  if (read?.ok === false) return read;
  const yaml = read?.value;
  const overlay = overlayEnvironment(ConfigSchema, yaml?.value ?? {}, options.env);
  const secrets = resolveSecretFiles(ConfigSchema, overlay.value);
  const checked = checkValue(ConfigSchema, secrets.value);
  const relations = checkRelations(checked.value as WithGaps<Settings>, localHosts());

  const unread = new Set(secrets.findings.map(({ path }) => formatPath(path).replace(/File$/, '')));
  const findings = [
    ...secrets.findings,
    // A secret whose file cannot be read is not reported missing on top.
    ...[...checked.findings, ...relations].filter(({ path }) => !unread.has(formatPath(path))),
  ];
  if (findings.length + overlay.findings.length === 0) findings.push(...checkWholeApps(checked.value as Settings));
  if (findings.length + overlay.findings.length > 0) {
    const located = findings.map((finding) => locate(finding, overlay.assigned, yaml, file));
    located.sort((a, b) => a.line - b.line || a.column - b.column);
    const fromVariables = overlay.findings.map(({ variable, ...finding }) => toProblem(finding, variable));
    return { ok: false, problems: [...located.map(({ problem }) => problem), ...fromVariables] };
  }
  const settings = checked.value as Settings;
  return {
    ok: true,
    config: toConfig(settings),
    settings,
    sources: (path) => {
      const secret = secrets.files.find((one) => formatPath(one.path) === formatPath(path));
      const origin = secret === undefined ? path : [...path.slice(0, -1), `${path.at(-1)}File`];
      const source = sourceOf(origin, overlay, yaml);
      return secret === undefined ? source : { ...source, secretFile: secret.file };
    },
    file,
  };
}

type Assigned = ReturnType<typeof overlayEnvironment>['assigned'];

/** The variable that last set the path or something around it. */
function variableFor(path: Path, assigned: Assigned): string | undefined {
  return assigned.findLast((one) => one.path.every((step, index) => step === path[index]))?.variable;
}

function sourceOf(path: Path, overlay: { value: unknown; assigned: Assigned }, yaml: YamlFile | undefined): Source {
  let value = overlay.value;
  for (const step of path) value = (value as Record<string | number, unknown> | null | undefined)?.[step];
  if (value === undefined || value === null) return { from: 'default' };
  const variable = variableFor(path, overlay.assigned);
  if (variable !== undefined) return { from: 'env', variable };
  return { from: yaml === undefined ? 'default' : 'file' };
}

function locate(finding: Finding, assigned: Assigned, yaml: YamlFile | undefined, file: string | undefined) {
  const variable = variableFor(finding.path, assigned);
  const position = variable === undefined ? yaml?.locate(finding.path) : undefined;
  const at = position === undefined ? variable : `${file}:${position.line}:${position.column}`;
  return {
    line: position?.line ?? Number.MAX_SAFE_INTEGER,
    column: position?.column ?? 0,
    problem: toProblem(finding, at),
  };
}

function toProblem({ path, reason, allowed, nearest }: Finding, at: string | undefined): Problem {
  return {
    path: formatPath(path),
    reason,
    ...(allowed === undefined ? {} : { allowed }),
    ...(nearest === undefined ? {} : { nearest }),
    ...(at === undefined ? {} : { at }),
  };
}

/** This machine's own addresses. */
export function localHosts(): Set<string> {
  return new Set(Object.values(networkInterfaces()).flatMap((list) => list?.map(({ address }) => address) ?? []));
}
