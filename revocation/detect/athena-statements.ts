/** A statement with its common table expressions, each made of those before it. */
export interface AthenaStatement {
  relations: { name: string; sql: string }[];
  /** Relations that are worked out once and kept until the answer is read. */
  kept: ReadonlySet<string>;
  /** The SELECT over the relations. */
  select: string;
}

/** A text that Athena is asked. */
export interface AthenaText {
  sql: string;
  /** Name of the table that it makes, which has to be dropped; undefined for the last text, whose rows are the answer. */
  table?: string;
}

/**
 * What Athena is asked for a statement, one after the other: a table `<prefix><relation>` for each relation that is kept
 * (CREATE TABLE AS), and last the SELECT. The same prefix makes the same texts.
 */
export function athenaTexts(
  { relations, kept, select }: AthenaStatement,
  database: string,
  prefix: string,
): AthenaText[] {
  const texts: AthenaText[] = [];
  const named: string[] = [];
  const whole = (sql: string) => (named.length > 0 ? `WITH ${named.join(',\n')}\n${sql}` : sql);
  for (const { name, sql } of relations) {
    if (!kept.has(name)) {
      named.push(`${name} AS (\n${sql}\n)`);
      continue;
    }
    const table = `${prefix}${name}`;
    texts.push({ sql: `CREATE TABLE "${database}"."${table}" WITH (format = 'PARQUET') AS\n${whole(sql)}`, table });
    named.push(`${name} AS (SELECT * FROM "${database}"."${table}")`);
  }
  return [...texts, { sql: whole(select) }];
}
