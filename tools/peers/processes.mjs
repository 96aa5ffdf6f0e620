// What a browser costs: all its processes, for a parent's own count leaves out some of them.
import { readdirSync, readFileSync } from "node:fs";

/** Processor seconds of a process and of all below it. */
export function used(root) {
    const children = new Map();
    const ticks = new Map();
    for (const id of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
        try {
            const stat = readFileSync(`/proc/${id}/stat`, "utf8");
            // The name stands in brackets and may hold spaces. Of the four times the last two are of children that have ended.
            const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
            children.set(Number(fields[1]), [...(children.get(Number(fields[1])) ?? []), Number(id)]);
            ticks.set(Number(id), fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0));
        } catch {
            // It has ended in the meantime.
        }
    }
    const tree = (id) => (children.get(id) ?? []).reduce((sum, child) => sum + tree(child), ticks.get(id) ?? 0);
    // Linux counts in hundredths of a second, whatever its own clock.
    return tree(root) / 100;
}
