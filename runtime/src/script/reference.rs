//! The reference: every function of scripts, in the one text that `skep doc functions` and docs/scripts.md are made from.

use crate::attach_point::PROVIDERS;
use crate::expr::Function;
use crate::resolve::{BUILTINS, members_of};

/// A heading, and (signature, what it does) under it.
pub type Section = (&'static str, &'static [(&'static str, &'static str)]);

pub const SECTIONS: &[Section] = &[
    (
        "Sources",
        &[
            (
                "probe(attach_point)",
                "watches an attach point; globs are expanded: `probe(\"tracepoint:sched:sched*\")`",
            ),
            ("probe([attach_point, …])", "any of several"),
            (
                "span(start, end)",
                "two attach points, or two arrays of them, as one event with the time between: see Spans",
            ),
            ("template(name)", "a dedicated template: `skep list templates`"),
            ("template(name, #{ parameter: value })", "with its parameters set"),
            (
                ".set(#{ parameter: value })",
                "changes parameters of a template; one that runs in a session is attached anew, and says so",
            ),
        ],
    ),
    (
        "What passes, and its columns (kernel)",
        &[
            (".filter(condition)", "only events for which the kernel expression holds; several are joined by `and`"),
            (".by(column, …)", "the key of an aggregation: up to eight expressions, or `#{ name: expression }`"),
            (".fields(column, …)", "streams these columns of every event; prints them if nothing else is said"),
            ("str(address)", "the text at an address, at most 64 bytes"),
            ("str(address, size)", "the same, up to 512 bytes"),
            ("buf(address, size)", "bytes at an address"),
            (
                "path(file)",
                "the full path of a `struct file *` or `struct path *`, across mounts: `path(args.file)`; of a `struct dentry *`, within its file system; at most 119 bytes of it",
            ),
            ("path(file, size)", "the same, up to 503 bytes with a size of 512"),
            (
                "sock(address)",
                "a socket of the kernel, `struct sock *`, `struct socket *` or a bare address: `sock(args.skaddr).dport`; its members are below",
            ),
            ("skb(address)", "a packet of the kernel, `struct sk_buff *`: `skb(args.skbaddr).saddr`"),
            ("sockaddr(address)", "a `struct sockaddr *`, of the process too: `sockaddr(args.uservaddr).port`"),
            (
                "in_cidr(address, cidr)",
                "a condition: an IP address is in this prefix, such as `\"10.0.0.0/8\"`; `sock(args.sk).daddr == \"10.1.2.3\"` for one alone",
            ),
            (
                "tcpdump(\"filter\")",
                "a condition on the frame, in the words of tcpdump: `.filter(tcpdump(\"tcp and dst port 80\"))`; for `tc:`, `xdp:` and templates `flows` and `capture` (docs/captures.md)",
            ),
            ("ntop(bytes)", "4 or 16 bytes as an IP address: `ntop(args.daddr)`"),
            ("ntohs(number)", "16 bits from network order: `ntohs(args.dport)`"),
            ("ntohl(number)", "32 bits from network order"),
            ("ntohll(number)", "64 bits from network order"),
            (
                "cast(address, \"struct NAME\")",
                "a pointer to a structure of the kernel: `cast(arg0, \"struct sock\").__sk_common.skc_dport`; also `\"u32\"`, `\"enum NAME\"`",
            ),
            ("enum_name(number, \"NAME\")", "a number shown by its name in an enumeration of the kernel"),
            (
                "first_of([field, …])",
                "the first of these that this kernel has: `first_of([args.p.__state, args.p.state])`; of attach points: `probe(first_of([\"kprobe:a\", \"kprobe:b\"]))`",
            ),
            ("uptr(address)", "an address of the process, where its type does not say: `str(uptr(arg1))`"),
            ("kptr(address)", "an address of the kernel, where its type does not say"),
            ("ksym(address)", "an address shown as the kernel's symbol: `vfs_read+0x1c`"),
            ("kstack(n)", "the kernel's call chain, at most n functions; `kstack` for all of it"),
            ("ustack(n)", "the process's call chain, at most n functions; `ustack` for all of it"),
            (
                "usym(address)",
                "an address shown as a symbol of the process that the event was in: `main+0x1c`; without symbols `libc.so.6+0x2a1b4`",
            ),
            (
                "strerror(number)",
                "an error number, shown by name: `ENOENT`; in closures this and the next four take numbers",
            ),
            ("signal_name(number)", "a signal, shown by name: `SIGTERM`"),
            ("syscall_name(number)", "a system call's number, shown by name: `openat`"),
            ("cgroup_path(number)", "a control group's id, shown as its path"),
            ("user_name(number)", "a user's id, shown by name"),
            ("tcp_state(number)", "a state of TCP, shown by name: `tcp_state(args.newstate) == \"CLOSE\"`"),
            ("starts_with(text, \"prefix\")", "a condition: `starts_with(comm, \"ba\")`"),
            ("not(condition)", "turns a condition; `and`, `or` join two"),
            ("field in [value, …]", "a condition: equal to one of them; `cpu in 0..4` for a range"),
        ],
    ),
    (
        "Spans (kernel)",
        &[
            (
                "span(start, end)",
                "pairs events of a thread; a function's `uprobe:` and `uretprobe:` call by call, recursion too",
            ),
            ("elapsed", "nanoseconds from the start to the end"),
            ("start.comm", "any field as it was at the start: `start.arg0`, `start.nsecs`, `str(start.args.filename)`"),
            (
                ".on(key, key)",
                "pairs by a field or an array of them, at the start and at the end: `.on([args.dev, args.sector], [args.dev, args.sector])`",
            ),
            (
                ".when(condition, condition)",
                "which events are starts, and which are ends: `.when(args.newstate == 1, args.newstate == 7)`",
            ),
            (".spans(n)", "room for n starts that wait for their ends (10,240 unless said)"),
        ],
    ),
    (
        "Aggregations (kernel)",
        &[
            (".count()", "how many"),
            (".sum(value)", "their sum"),
            (".avg(value)", "their mean"),
            (".min(value)", "the lowest"),
            (".max(value)", "the highest"),
            (".stats(value)", "number, sum, mean, lowest and highest"),
            (
                ".heavy(value)",
                "the keys with the greatest sums, in a table of fixed size: estimates, with their bound; `.heavy()` counts. docs/heavy-hitters.md",
            ),
            (".hist(value)", "a histogram of powers of two"),
            (".lhist(value, min, max, step)", "a histogram of equal steps"),
            (".quantiles(value)", "p50, p90, p99, p99.9; at most 1/64 (1.6 %) above the true value"),
            (".entries(n)", "room for n keys (10,240 unless said; `heavy`: 1,024 on each CPU)"),
        ],
    ),
    (
        "Events (here)",
        &[
            (".packets()", "of template `capture`: packets, each a line as `skep observe` prints flows"),
            (
                ".pcapng(path)",
                "of template `capture`: packets into a file that Wireshark reads; `\"-\"`: standard output",
            ),
            (".first(n)", "of packets: ends the run when there are so many"),
            (".each(|e| …)", "calls the closure with each event; its fields are `e.comm`, `e.filename`, …"),
            (".printf(format, column, …)", "prints each event: `%-16s %6d %x %5.1f`"),
        ],
    ),
    (
        "How a table is shown",
        &[
            (".named(title)", "title of the result, often its unit"),
            (".top(n)", "only the first n rows"),
            (".sort_by(column)", "by a column or `\"value\"`, the greatest first"),
            (".sort_by_ascending(column)", "the least first"),
            (".quiet()", "is not printed at the end"),
        ],
    ),
    (
        "Running",
        &[
            (".run()", "attaches, waits for Ctrl-C, detaches, and gives the value"),
            (".run(time)", "the same for a time: `.run(\"10s\")`"),
            ("run()", "all chains that did not run yet; a script's end does it by itself"),
            ("run(time)", "the same for a time"),
            (".value()", "the value as it is now, in `every` and `at_end` too"),
            (".show()", "prints the value as it is now"),
            (
                ".trust()",
                "the counts of the chain's trust line by name, when it has run: `.trust().open`, `.trust().lost`",
            ),
            (
                ".seconds()",
                "how long the chain's last run took, from when all was attached: what its counts are divided by",
            ),
            (".clear()", "begins anew"),
            ("every(time, || …)", "calls the closure again and again while a run lasts"),
            ("interval(time)", "shows all results each time, and begins anew, unless `--interval` says how often"),
            ("at_end(|| …)", "calls the closure when everything has run"),
            ("exit()", "ends the run, and the script"),
            ("exit(status)", "with this exit status"),
            (
                "param(name, #{ value: …, help: … })",
                "a parameter, given as `--name value` behind the script; has the type of its default",
            ),
            ("param(name, value)", "the same without help"),
        ],
    ),
    (
        "Tables",
        &[
            ("for row in table { … }", "`row.comm` (a column of the key), `row.key`, `row.value`"),
            (".rows()", "all rows as an array"),
            (
                ".flamegraph(path)",
                "writes the call chains as a flame graph (`.svg`), folded text (`.folded`), pprof (`.pb.gz`) or speedscope (`.json`); of a chain when it has run",
            ),
            (
                ".flamegraph(path, settings)",
                "with a title, a width, growing down: `#{ title: \"noon\", icicle: true, width: 1200 }`",
            ),
            (
                ".folded(path)",
                "the call chains as folded text, whatever the file is called; `.folded()` gives the text",
            ),
            (".pprof(path)", "the same as a pprof profile"),
            (".speedscope(path)", "the same for speedscope"),
            (".flamediff(table, path)", "a graph of two tables, this one and an earlier one: red grew, blue shrank"),
            (".len()", "their number"),
            (".is_empty()", "none"),
            (".total()", "all values together"),
            (".lack()", "how far the rows of a `heavy` may be below the truth, at most; 0 of other tables"),
            ("table[key]", "the value of a key, or `()`"),
            (".get([key, …])", "the same for several columns"),
            (".json()", "as a text in JSON; of a chain what it has by now"),
            (".csv(path)", "writes the rows as comma-separated values; of a chain what it has by now"),
        ],
    ),
    (
        "Histograms",
        &[
            (".p50()", "also .p90() .p95() .p99() .p999(): the value that this share of samples does not exceed"),
            (".quantile(share)", "the same for any share, 0.0 to 1.0"),
            (".mean()", "exact: sums are kept"),
            (".buckets()", "an array of `#{ low, high, count }`"),
        ],
    ),
    (
        "Scripts of scripts, and findings",
        &[
            (
                "script(name)",
                "a script of the library or of your folders, as a part of this one: its chains wait beside the own ones, and nothing of it is printed",
            ),
            ("script(name, #{ parameter: value })", "with its parameters set"),
            (
                ".value(title)",
                "of a called script: its result of this title, as `.value()` of a chain gives it; `.value()` the first one",
            ),
            (".lines()", "what a called script printed, an array of lines"),
            (
                "finding(level, text)",
                "a conclusion, printed at once: `\"info\"`, `\"warn\"` or `\"critical\"`; the worst one is the exit status",
            ),
            (
                "finding(level, text, evidence)",
                "with what shows it: a table, a histogram, a map, an array, a text, a number",
            ),
            ("finding(level, text, evidence, next)", "and the command that looks closer"),
            ("findings()", "those so far, an array of `#{ level, text, script, next }`"),
        ],
    ),
    (
        "What the machine counts by itself",
        &[
            (
                "pressure(resource)",
                "for `\"cpu\"`, `\"memory\"`, `\"io\"`: the shares of time in which `some` or all (`full`) tasks wait for it, in percent (`avg10`, `avg60`, `avg300`), and their `total` in microseconds; with `--cgroup` that group's; `()` where the kernel does not count it, as with all of these",
            ),
            ("pressure(resource, cgroup)", "of a control group (v2)"),
            (
                "cpu_times()",
                "milliseconds of all CPUs: `user`, `nice`, `system`, `idle`, `iowait`, `irq`, `softirq`, `steal`, `guest`; `cpus`, `switches`, `forks`, `running`, `blocked`",
            ),
            ("mem_info()", "/proc/meminfo in bytes: `MemAvailable`, …"),
            ("vm_counts()", "/proc/vmstat: `pgscan_direct`, `oom_kill`, …"),
            (
                "net_counts()",
                "of this network, by protocol: `.Tcp.RetransSegs`, `.TcpExt.ListenOverflows`, `.Udp.RcvbufErrors`, …; `.backlog.taken`, `.dropped`, `.squeezed` of the CPUs",
            ),
            (
                "disk_counts()",
                "by disk: `reads`, `read_bytes`, `read_ms`, `writes`, `written_bytes`, `write_ms`, `in_flight`, `busy_ms`, `waited_ms`",
            ),
            (
                "cgroups()",
                "by path: `usage_us`, `periods` of its CPU quota, `throttled` ones and `throttled_us`, `memory`, its `limit` (0: none), how often it was `refused` more, `oom_kills`; with `--cgroup` that group and those below it",
            ),
            ("since(before, now)", "how much each number of two such maps grew"),
            (
                "restriction()",
                "what the command line restricts this run to: `pid` (0: none), `comm`, `cgroup` (`()`: none)",
            ),
        ],
    ),
    (
        "Policies: which packets may pass",
        &[
            (
                "policy(point, name)",
                "rules for packets of an interface at `\"xdp\"` (ingress) or `\"tc\"` (both directions), or of a `\"cgroup\"`; see docs/enforcement.md",
            ),
            ("policy(point, [name, …])", "the same rules for several"),
            ("import_policy(path)", "the policies of a YAML file: `skep policy check` says what they mean"),
            ("import_policy(path, inventory)", "with the file that says who is who"),
            (
                ".deny(#{ field: value })",
                "a rule; its fields are those of YAML: `#{ src: \"10.0.0.0/8\", proto: \"tcp\", dport: 22 }`; without a `name` it is called by what it says",
            ),
            (".allow(#{ field: value })", "a rule; with `rate: \"100/s\"` what is beyond is dropped"),
            (".otherwise(action)", "what befalls what no rule is about: `\"allow\"` unless said, or `\"deny\"`"),
            (".otherwise(#{ direction: action })", "the same for `ingress` and `egress` by themselves"),
            (
                ".mode(word)",
                "`\"audit\"` unless said: what would be dropped is counted, and passes; `\"enforce\"` takes `--enforce` on the command line too",
            ),
            (".ttl(time)", "ends by itself after this time, however long the run is"),
            (
                ".confirm_within(time)",
                "goes back to the audit by itself unless `skep policy confirm PLACE` comes in time",
            ),
            (".guard(address)", "is never dropped, as the other end of the own session is not"),
        ],
    ),
    (
        "Reports of policies",
        &[
            (
                "for row in report { … }",
                "of what `.run(…)` of a policy gives: `row.rule`, `row.direction`, `row.verdict` (passed, dropped, would drop, refused, none), `row.packets`, `row.bytes`, `row.place`",
            ),
            (
                ".each(|denial| …)",
                "calls the closure with some of the denials while a policy runs: at most one a rule and tick of the clock; `denial.src`, `dst`, `proto`, `port`, `bytes`, `rule`, `verdict`, `direction`, `place`",
            ),
        ],
    ),
    (
        "Texts, numbers, time",
        &[
            ("print(value)", "a line; values print as they are shown at the end"),
            ("printf(format, value, …)", "a line after a format"),
            ("format(format, value, …)", "the same as a text"),
            (
                "fit(text, columns)",
                "the text in at most so many columns: a path keeps its end; all of it with `--wide`, in JSON and in CSV",
            ),
            ("duration(ns)", "`1.50ms`"),
            ("bytes(n)", "`1.5MiB`"),
            ("now()", "seconds since 1970, a float"),
            ("time()", "local time of day, `14:03:59`"),
            (".to_float()", "an unsigned value (beyond a signed 64-bit number, or an address) as a float"),
            (".to_decimal()", "as a text of decimal digits"),
        ],
    ),
];

const SPANS: &str = "\n## How spans are paired and counted\n\n\
    A part of an expression that names only `start.…` is computed at the start and kept; everything else is of the end.\n\
    `.filter(…)` decides at the end. An end pairs with the latest start of its key, never with an older one. The trust line\n\
    counts what has no partner: ends without a start (it came before everything was attached, or gave way), starts\n\
    replaced by another start of the same key, starts still open at the end of the run, and starts that were given up:\n\
    they wait in a table that drops those unused for longest when it is full.\n\n\
    `--pid`, `--cgroup` and conditions on `pid` or `tid` alone hold at both sides, so that others are not stored; `--comm`\n\
    is the name at the end. With `.on(…)` any task may end a span: the restrictions hold at the start, and ends of what\n\
    others began count as ends without a start.\n";

const PROCESSES: &str = "\n## Whose events\n\n\
    `--pid N` takes the events of one process, all its threads; with `--follow-forks` also those of the processes that it\n\
    starts from then on, and of theirs, whatever they become by `exec`. `-c CMD` always includes what the command starts.\n\
    65,536 processes are followed at a time; the trust line counts those that found no room. To follow takes the kernel's\n\
    type information; without it `-c` watches the command alone and says so.\n\n\
    A user function is watched in one process with `--pid`. With `--follow-forks` and `-c` the breakpoint is in every\n\
    process that runs the same file: calls of others are filtered, but each costs them as much as one that is counted.\n\n\
    `pid` and `tid` are the numbers that `ps` shows: in a container, those of its pid namespace, and 0 for tasks of other\n\
    namespaces. Fields of dedicated templates and `args` are the kernel's own numbers, those of the host.\n\n\
    Events of some templates are about other tasks than the current one. There `--pid` sets the template's own parameter\n\
    (`process` of runqlat), and `--cgroup` likewise (`cgroup` of dns); `--comm`, and what has no parameter, are refused.\n";

const SOCKETS: &str = "\n## Sockets and packets\n\n\
    Any source that has the address of a socket or a packet can be asked what it is of: `.filter(sock(args.sk).state ==\n\
    \"ESTABLISHED\" and in_cidr(sock(args.sk).daddr, \"10.0.0.0/8\")).by(sock(args.sk).daddr)`. All of it is read in the kernel.\n\
    An address is of either family; what has none reads as `::`, and a number that cannot be read as 0. Each member of a\n\
    packet costs a handful of reads: filter by a socket where there is one.\n";

const POLICIES: &str = "\n## What a policy of a script does\n\n\
    `.run()`, `.run(time)`, `.named(…)`, `.value()`, `.quiet()` and `run()` are those of chains, and policies run beside\n\
    chains: `run(\"10m\")` begins and ends all of them together. A time of the run is a time to live too: programs keep it\n\
    by themselves. `.named(…)` before the rules names those that have no name. `.value()` and what `.run(…)` gives is a\n\
    report: `.rows()`, `.sort_by(…)`, `.top(…)`, `.len()`, `.json()` and `.csv(path)` are those of tables; nobody who took\n\
    it, and it is printed at the end as `skep policy status` prints it. `status`, `enforce`, `confirm` and `rollback` reach\n\
    a script's policies too. A session has none of its own.\n";

const RUNBOOKS: &str = "\n## Runbooks\n\n\
    A runbook is a script that ends with findings: `skep run slow-node`. It calls others, and one `run` measures for all of\n\
    them: `let waits = script(\"runqlat\", #{ process: 12 }); run(\"10s\"); if waits.value(\"usecs\").p99() > 10_000 { … }`.\n\
    `run(time)` of a called script is left to the script that called it; what it has to say behind the run belongs in\n\
    `at_end`, which is called when that run is over. A called script of which this machine, or what the command line\n\
    restricts the run to, does not allow a chain is left out: that is said, and its values are `()`.\n\n\
    The exit status is 10 where the worst finding is a `warn`, 20 where it is `critical`; `exit(n)` and `--strict` (3) come\n\
    first. `--report FILE.html`, or `FILE.md`, writes the findings, the worst first, with all that was printed.\n\n\
    What the machine counts is recorded by `skep record`, and told again to a replay. A plan reads the counters of an idle\n\
    machine. Counters grow from the machine's start: `since(before, cgroups())` is what came in between. The totals of\n\
    `pressure` are brought up to date by the kernel every two seconds.\n";

const COMPLETE: &str = "\n## How complete a result is\n\n\
    The trust line ends every run. `lost` are events for which the ring buffer or a table had no room; `missed` are those\n\
    that the kernel could run no program for: a function that is called inside of a program's own run, or calls that\n\
    overlap at a kretprobe, which has room for few that did not return yet (fexit has no such limit). A program at a\n\
    system call may itself be preempted since Linux 6.13, if the kernel preempts (`PREEMPT_LAZY`), and misses what others\n\
    call there meanwhile: two busy loops of calls on one processor may lose a seventh so. Whether they would have passed\n\
    the filter is not known. With `--strict` either is exit status 3. Linux before 6.7 does not count what\n\
    kprobes and kretprobes miss, Linux before 5.12 nothing but what skep itself counts at fentry and fexit. Where a\n\
    script is five seconds or more behind its events, the line says how late the latest were.\n\n\
    ## What a run may take\n\n\
    `--max-overhead 1%` is a share of one processor, for programs in the kernel, an estimate of what it takes to reach them,\n\
    and skep itself. A run that takes more is attached a part of the time only: a line on standard error says so, what it\n\
    counts then is a sample in time, and `--strict` takes it as a loss. What had begun when the programs were taken off (a\n\
    span, a wait) is forgotten. Where no part is small enough, the run ends. Sessions and scripts of the library may take a\n\
    quarter of all processors unless another share was said, and more for some seconds; scripts of your own have no limit\n\
    unless you give one. The trust line says what a run with a budget took, and `skep plan --measure SCRIPT` what it would:\n\
    it attaches each of the script's programs for a second, or for 20 ms where they take more than a quarter of all\n\
    processors. To measure that, the kernel counts the time of programs for a twentieth of each second, at some 60 ns a run of every BPF program on the machine; it takes CAP_SYS_ADMIN and Linux 5.8.\n\n\
    What every machine hits all the time (spin locks, `kmem_cache_alloc`, tracepoints of `lock:`, `kmem:`, `irq_vectors:`,\n\
    `malloc` without `--pid`) has that budget in every script, and is asked about on a terminal, unless `--yes` is given.\n\n\
    `--max-probes 4096` (the usual number) and `--max-memory 64M` refuse a run before anything is loaded: memory of its\n\
    tables in the kernel; skep itself may hold as much again. `--max-events 100` ends a run after so many events were\n\
    printed or handed to closures; what came behind them counts as `limited`. `--ttl 10m` ends everything, whatever it does,\n\
    as SIGTERM would.\n";

const INTERVALS: &str = "\n## Options of every script\n\n\
    `--interval 1s` prints all results each time, under the time of day, and begins anew; what is left is printed at the end.\n\
    `--count 5` ends the run after so many intervals; so does `--for` with a whole number of them. Events are printed as they\n\
    come. A chain that the script takes or keeps to itself (`.value()`, `.quiet()`) is left alone, and so is one that a graph\n\
    is made of; `.run(time)` gives the value of all intervals. Events that come between the reading of a table and its\n\
    clearing, some microseconds, are counted in the trust line and in no interval. `interval(\"1s\")` in a script says what\n\
    holds without `--interval`.\n\n\
    `--top 20` prints so many rows of each table, whatever the script says; `.value()` has those that the script says.\n\n\
    Text is laid out for the terminal, in files and pipes for 80 columns. Where a line has no room, long texts in it are\n\
    shortened, `…` stands for what is left out: a path keeps its end, a function both ends of its name. Numbers and addresses\n\
    are always whole; what has no room beside them stands on a line below. `--wide` shows all of each, as JSON, CSV and\n\
    `--report` do. What a script prints itself is as wide as it says.\n\n\
    They stand before or behind the script's name. Where the script has a parameter of one of these names, it is that.\n";

/// As a terminal shows it.
pub fn text() -> String {
    let mut out = String::new();
    for (heading, functions) in SECTIONS {
        out += &format!("{heading}\n");
        for (signature, help) in *functions {
            out += &format!("  {signature:<38} {help}\n");
        }
        out.push('\n');
    }
    out += "Fields of every source\n";
    for (name, help) in BUILTINS {
        out += &format!("  {name:<38} {help}\n");
    }
    out
}

/// docs/scripts.md.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Script reference\n\n<!-- Generated from runtime/src/script/reference.rs: SKEP_BLESS=1 cargo test -p skep-runtime reference -->\n\n\
         Scripts are [Rhai](https://rhai.rs/book). **No closure: it runs in the kernel. A closure: it runs here.**\n\n\
         Arithmetic in the kernel is of 64 bits. Values narrower than that are signed numbers; only unsigned 64-bit fields and\n\
         addresses use the full range, and comparing them with signed ones is exact. A difference is signed. `x / 0` is 0 and\n\
         `x % 0` is x, as in the kernel. `and` and `or` stop as soon as the result is known.\n",
    );
    let cell = |text: &str| text.replace('|', "\\|");
    for (heading, functions) in SECTIONS {
        out += &format!("\n## {heading}\n\n| function | what it does |\n|---|---|\n");
        for (signature, help) in *functions {
            out += &format!("| `{}` | {} |\n", cell(signature), cell(help));
        }
    }
    out += SPANS;
    out += "\n## Fields of every source\n\n| field | what it is |\n|---|---|\n";
    for (name, help) in BUILTINS {
        out += &format!("| `{name}` | {help} |\n");
    }
    out += SOCKETS;
    for decoder in [Function::Sock, Function::Skb, Function::Sockaddr] {
        out += &format!("\n| of `{}()` | what it is |\n|---|---|\n", decoder.name());
        for (name, help) in members_of(decoder).unwrap_or_default() {
            out += &format!("| `{name}` | {help} |\n");
        }
    }
    out += PROCESSES;
    out += POLICIES;
    out += RUNBOOKS;
    out += COMPLETE;
    out += INTERVALS;
    out += "\n## Attach points\n\n| provider | short | spelling | what it is |\n|---|---|---|---|\n";
    for (name, short, spelling, help) in PROVIDERS {
        out += &format!("| `{name}` | `{short}` | `{}` | {help} |\n", cell(spelling));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Library;
    use crate::report::text::Style;
    use crate::script::engine::Runner;
    use crate::script::host::{Host, Mode, Settings};
    use crate::script::output::{Format, Output};
    use crate::script::params::Params;
    use std::collections::BTreeSet;

    /// The function's bare name in a signature.
    fn name(signature: &str) -> &str {
        signature.trim_start_matches('.').split(['(', ' ', '[']).next().unwrap_or(signature)
    }

    fn registered() -> BTreeSet<String> {
        let settings = Settings::bare(Mode::Plan);
        let output = Output::new(Box::new(std::io::sink()), Format::Text, Style::default());
        let host = Host::new(settings, Params::default(), output, None);
        let runner = Runner::new(host, Library::default()).unwrap();
        let signatures = runner.engine.gen_fn_signatures(false);
        signatures.iter().filter_map(|one| one.split('(').next()).map(|name| name.trim().to_owned()).collect()
    }

    #[test]
    fn reference_names_every_function_and_no_other() {
        let registered = registered();
        let named: BTreeSet<String> =
            SECTIONS.iter().flat_map(|(_, list)| *list).map(|(signature, _)| name(signature).to_owned()).collect();
        // Statements and Rhai's own.
        let language = ["for", "table", "print", "elapsed", "start.comm", "field"];
        for name in named.iter().filter(|name| !language.contains(&name.as_str())) {
            assert!(registered.contains(name), "the reference has `{name}`, the engine has not");
        }
        // Operators, property access, conversions that Rhai calls by itself; further percentiles stand with p50.
        let implied = [
            "and",
            "or",
            "to_string",
            "to_debug",
            "to_int",
            "p90",
            "p95",
            "p99",
            "p999",
            "is_event",
            "sleep",
            "contains",
        ];
        for name in registered.iter().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())) {
            let known = named.contains(name) || implied.contains(&name.as_str()) || name.contains('$');
            assert!(known, "the engine has `{name}`, the reference has not");
        }
    }

    #[test]
    fn scripts_md_is_what_the_reference_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scripts.md");
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let found = std::fs::read_to_string(path).expect("docs/scripts.md is missing: SKEP_BLESS=1 writes it");
        assert_eq!(found, markdown(), "SKEP_BLESS=1 cargo test -p skep-runtime reference");
    }
}
