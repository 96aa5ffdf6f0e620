/**
 * What is kept in this browser: one folder per model in the origin's private file system (OPFS).
 *
 * A folder holds the files and `killick.json`, which says of each file where it came from and whether it is complete. A file without
 * that mark is the beginning of a download, which the next one goes on with.
 */

const FOLDER = 'killick';
const RECORD = 'killick.json';

/**
 * @typedef {{ url: string, size: number | null, etag: string | null, sha256?: string, complete: boolean }} FileRecord
 * @typedef {{ name: string, used: number, whole?: boolean, files: Record<string, FileRecord> }} ModelRecord `whole`: nothing is missing
 */

/** The folder of all models; `null` where this browser has none (some private windows). */
async function allModels() {
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    return null;
  }
}

/** A name as a folder: any text is one, for `/` and the like are written as %2F. */
const folderOf = (/** @type {string} */ name) => encodeURIComponent(name).replaceAll('.', '%2E');

/** One model's folder. */
export class Kept {
  /**
   * The folder of `name`; `null` where nothing can be kept.
   * @param {string} name
   */
  static async open(name) {
    const models = await allModels();
    return models && new Kept(name, await models.getDirectoryHandle(folderOf(name), { create: true }));
  }

  /**
   * @param {string} name
   * @param {FileSystemDirectoryHandle} folder
   */
  constructor(name, folder) {
    this.name = name;
    this.folder = folder;
  }

  /** @returns {Promise<ModelRecord>} */
  async record() {
    try {
      const file = await (await this.folder.getFileHandle(RECORD)).getFile();
      const record = JSON.parse(await file.text());
      if (record && typeof record.files === 'object') return record;
    } catch {
      // None yet, or one that a crash cut short: then what lies here is not trusted.
    }
    return { name: this.name, used: 0, files: {} };
  }

  /** @param {ModelRecord} record */
  async write(record) {
    const handle = await this.folder.getFileHandle(RECORD, { create: true });
    const access = await syncAccess(handle);
    try {
      const bytes = new TextEncoder().encode(JSON.stringify(record));
      access.truncate(0);
      access.write(bytes, { at: 0 });
      access.flush();
    } finally {
      access.close();
    }
  }

  /**
   * A complete file, or the beginning of one.
   * @param {string} file
   * @returns {Promise<File | null>}
   */
  async file(file) {
    try {
      return await (await this.folder.getFileHandle(folderOf(file))).getFile();
    } catch {
      return null;
    }
  }

  /**
   * A file to write into. Close it before it is read.
   * @param {string} file
   */
  async writer(file) {
    return syncAccess(await this.folder.getFileHandle(folderOf(file), { create: true }));
  }

  /** @param {string} file */
  async remove(file) {
    await this.folder.removeEntry(folderOf(file)).catch(() => {});
  }
}

/** @param {FileSystemFileHandle} handle @returns {Promise<any>} */
async function syncAccess(handle) {
  // Only workers have it, and the DOM's types leave it out.
  return /** @type {any} */ (handle).createSyncAccessHandle();
}

/** @returns {Promise<import('../index.js').CachedModel[]>} */
export async function list() {
  const models = await allModels();
  if (!models) return [];
  const found = [];
  for await (const [, folder] of /** @type {any} */ (models).entries()) {
    if (folder.kind !== 'directory') continue;
    const record = await new Kept('', folder).record();
    if (!record.name) continue;
    const files = [];
    for (const [name, { complete }] of Object.entries(record.files)) {
      const file = await new Kept(record.name, folder).file(name);
      files.push({ name, bytes: file?.size ?? 0, complete });
    }
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    found.push({ name: record.name, files, bytes, used: record.used });
  }
  return found.sort((a, b) => b.used - a.used);
}

/** @param {string} name */
export async function remove(name) {
  const models = await allModels();
  await models?.removeEntry(folderOf(name), { recursive: true }).catch(() => {});
}

export async function clear() {
  for (const { name } of await list()) await remove(name);
}

/** @returns {Promise<{ used: number, quota: number } | null>} */
export async function estimate() {
  try {
    const { usage, quota } = await navigator.storage.estimate();
    return quota === undefined ? null : { used: usage ?? 0, quota };
  } catch {
    return null;
  }
}
