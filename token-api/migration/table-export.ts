import { MigrationError } from './migration-error.ts';

/**
 * The items of a DynamoDB table as plain values, from what `aws dynamodb scan` prints, `{"Items":[…]}`, or from the lines of an export
 * to S3 in DynamoDB JSON, `{"Item":{…}}` (Amazon DynamoDB, "Table export output format"). Throws `ERR_MIGRATION_TABLE` with the
 * line, and nothing of what is in it.
 */
export function readTableExport(text: string): Record<string, unknown>[] {
  const whole = parsed(text);
  const items = record(whole)?.Items;
  if (Array.isArray(items)) {
    if (record(whole)?.NextToken !== undefined || record(whole)?.LastEvaluatedKey !== undefined) {
      throw new MigrationError('ERR_MIGRATION_TABLE', 'this is only part of a table: scan it without --max-items');
    }
    return items.map((item, i) => itemOf(item, `item ${i + 1}`));
  }
  return text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    return [itemOf(record(parsed(line))?.Item, `line ${i + 1}`)];
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function record(value: unknown): Record<string, unknown> | undefined {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isRecord ? (value as Record<string, unknown>) : undefined;
}

function itemOf(item: unknown, where: string): Record<string, unknown> {
  const attributes = record(item);
  if (!attributes) {
    const forms = '{"Items":[…]} of aws dynamodb scan, or lines of {"Item":{…}} of an export to S3, unpacked (gunzip)';
    throw new MigrationError('ERR_MIGRATION_TABLE', `${where} is no item of a table; known are ${forms}`);
  }
  return mapOf(attributes, where);
}

function mapOf(attributes: Record<string, unknown>, where: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, plainValue(value, where, 0)]));
}

/** DynamoDB nests 32 levels (Amazon DynamoDB, "Limits"). */
const DEPTH = 32;

/** An attribute value (Amazon DynamoDB API Reference, AttributeValue). */
function plainValue(attribute: unknown, where: string, depth: number): unknown {
  const [[type, value] = [], ...others] = Object.entries(record(attribute) ?? {});
  const wrong = () => new MigrationError('ERR_MIGRATION_TABLE', `${where} has an attribute that is not DynamoDB JSON`);
  if (others.length > 0 || depth > DEPTH) throw wrong();
  const number = (text: unknown) =>
    typeof text === 'string' && Number.isFinite(Number(text)) ? Number(text) : undefined;
  if (type === 'NULL') return null;
  if (type === 'S' && typeof value === 'string') return value;
  if (type === 'BOOL' && typeof value === 'boolean') return value;
  if (type === 'N' && number(value) !== undefined) return number(value);
  if (type === 'L' && Array.isArray(value)) return value.map((item) => plainValue(item, where, depth + 1));
  if (type === 'SS' && Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  if (type === 'NS' && Array.isArray(value) && value.every((item) => number(item) !== undefined))
    return value.map(number);
  const map = record(value);
  if (type !== 'M' || !map) throw wrong();
  return Object.fromEntries(Object.entries(map).map(([name, item]) => [name, plainValue(item, where, depth + 1)]));
}
