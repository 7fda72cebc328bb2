// flame.js SECONDS: CPU time in heavy(), medium() and light(), about 5 : 3 : 2; prints what each took, in nanoseconds.
// Each has a body of its own to compile.
function heavy(turns) { let sum = 0; for (let n = 0; n < turns * 5; n++) sum = (sum * 31 + n) | 0; return sum; }
function medium(turns) { let sum = 0; for (let n = 0; n < turns * 3; n++) sum = (sum * 31 + n) | 0; return sum; }
function light(turns) { let sum = 0; for (let n = 0; n < turns * 2; n++) sum = (sum * 31 + n) | 0; return sum; }

const used = () => { const { user, system } = process.cpuUsage(); return (user + system) * 1000; };
const took = new Map([[heavy, 0], [medium, 0], [light, 0]]);
let sum = 0;
while (used() < Number(process.argv[2]) * 1e9)
	for (const part of took.keys()) {
		const since = used();
		// Some milliseconds, as this clock counts microseconds; of one length they would keep step with the samples.
		sum += part(Math.floor(1000000 + Math.random() * 2000000));
		took.set(part, took.get(part) + used() - since);
	}
for (const [part, nanoseconds] of took) console.log(part.name, nanoseconds);
console.log("total", used());
