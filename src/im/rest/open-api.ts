import type { SchemaNode } from './check-body.ts';
import type { Command } from './command.ts';
import { errorFacts } from './command-facts.ts';
import { pathOf } from './commands.ts';
import { services } from './service-table.ts';

/** OpenAPI 3.1 of the table of commands. Pure. */
export function openApi(commands: readonly Command[]): object {
  return {
    openapi: '3.1.0',
    info: {
      title: 'qalgate REST API',
      version: '1',
      description:
        'Every answer has HTTP status 200: ActionStatus and ErrorCode say what became of the command. The URL carries the UserSig of an administrator of the app.',
    },
    servers: [{ url: '/' }],
    tags: Object.entries(services).map(([name, { title }]) => ({ name, description: title })),
    paths: Object.fromEntries(commands.map((command) => [pathOf(command), { post: operationOf(command) }])),
    components: { parameters, schemas: { Envelope: envelopeSchema } },
  };
}

function operationOf(command: Command): object {
  const { service, name, summary, notes, generation, rate, response } = command;
  const errors = errorFacts(command).map(({ code, message }) => `* ${code}: ${message}`);
  return {
    operationId: `${service}_${name}`,
    tags: [service],
    summary,
    description: [notes ?? '', errors.length === 0 ? '' : `Errors of its own:\n\n${errors.join('\n')}`]
      .filter((part) => part !== '')
      .join('\n\n'),
    parameters: Object.keys(parameters).map((parameter) => ({ $ref: `#/components/parameters/${parameter}` })),
    requestBody: { required: true, content: { 'application/json': { schema: requestSchema(command) } } },
    responses: {
      200: {
        description: 'What became of it.',
        content: {
          'application/json': {
            schema: { allOf: [{ $ref: '#/components/schemas/Envelope' }, answerSchema(response)] },
          },
        },
      },
    },
    'x-generation': generation,
    'x-rate': rate,
  };
}

const text = { type: 'string' };
const parameters = {
  sdkappid: {
    name: 'sdkappid',
    in: 'query',
    required: true,
    description: 'Number of the app. The name may be written in any case.',
    schema: { type: 'integer', minimum: 1 },
  },
  identifier: {
    name: 'identifier',
    in: 'query',
    required: true,
    description: 'Account of an administrator of the app.',
    schema: text,
  },
  usersig: { name: 'usersig', in: 'query', required: true, description: 'Its UserSig.', schema: text },
  random: {
    name: 'random',
    in: 'query',
    required: false,
    description: 'Any number; makes no difference.',
    schema: { type: 'integer' },
  },
  contenttype: {
    name: 'contenttype',
    in: 'query',
    required: false,
    description: '`json`; makes no difference.',
    schema: text,
  },
};

const envelopeSchema = {
  type: 'object',
  required: ['ActionStatus', 'ErrorCode', 'ErrorInfo'],
  properties: {
    ActionStatus: { type: 'string', enum: ['OK', 'FAIL', 'SomeError'] },
    ErrorCode: { type: 'integer', description: '0: it was done.' },
    ErrorInfo: { type: 'string', description: 'Why it was not: field, reason, what is allowed.' },
    ErrorDisplay: { type: 'string', description: 'Empty; in answers of profile and recentcontact.' },
  },
};

/** The request's schema with the later names of fields, of which one is enough. */
function requestSchema({ request, aliases = {} }: Command): object {
  const schema = withoutNotes(request) as { required?: string[]; properties?: Record<string, object> };
  const { required = [], properties = {} } = schema;
  const later = Object.entries(aliases);
  if (later.length === 0) return schema;
  const renamed = new Set(later.map(([, name]) => name));
  return {
    ...schema,
    properties: {
      ...properties,
      ...Object.fromEntries(
        later.map(([alias, name]) => [alias, { ...properties[name], description: `The later name of ${name}.` }]),
      ),
    },
    required: required.filter((name) => !renamed.has(name)),
    allOf: later
      .filter(([, name]) => required.includes(name))
      .map(([alias, name]) => ({ anyOf: [{ required: [name] }, { required: [alias] }] })),
  };
}

/** An answer's own fields are there only when the command was carried out. */
function answerSchema(response: SchemaNode): object {
  const { required: _, ...schema } = withoutNotes(response) as { required?: string[] };
  return schema;
}

const privateNotes = new Set(['x-opaque', 'x-account', 'x-group-id', 'x-any-text']);

/** A copy without the annotations that only our own checks read. */
function withoutNotes(node: SchemaNode): object {
  return JSON.parse(JSON.stringify(node, (key, value) => (privateNotes.has(key) ? undefined : value)));
}
