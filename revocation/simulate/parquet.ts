import { columnOf } from '../detect/log-fields.ts';

/** Makes Parquet files of tab-separated lines, every column a string, as standard logging v2 does. */
export interface ParquetWriter {
  convert(from: string, to: string): Promise<void>;
  close(): void;
}

/** Opens one for lines with these fields. Rejects when DuckDB is not installed. */
export async function openParquetWriter(fields: string[]): Promise<ParquetWriter> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const instance = await DuckDBInstance.create(':memory:', { memory_limit: '400MB', threads: '1' });
  const connection = await instance.connect();
  const columns = fields.map((field) => `${text(columnOf(field))}: 'VARCHAR'`).join(', ');
  return {
    async convert(from, to) {
      // A dash stands for nothing, as in the lines.
      await connection.run(`
        COPY (SELECT * FROM read_csv(${text(from)}, delim = '\\t', quote = '', escape = '', header = false,
          auto_detect = false, columns = {${columns}}, nullstr = []::VARCHAR[]))
        TO ${text(to)} (FORMAT parquet, COMPRESSION snappy)`);
    },
    close() {
      connection.closeSync();
      instance.closeSync();
    },
  };
}

/** A literal of SQL. */
function text(value: string): string {
  return `'${value.replaceAll("'", "''")}'`;
}
