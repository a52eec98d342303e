// What systemd does to a unit with RestrictAddressFamilies=AF_INET AF_INET6, SystemCallFilter=@system-service
// ~@privileged ~@resources and UMask=077, as a program that becomes another one; systemd itself can't do it where it does
// not run. Needs python3 and systemd's own list of system calls.

const PROGRAM = `
import ctypes, os, platform, struct, subprocess, sys
listing = subprocess.run(["/usr/bin/systemd-analyze", "syscall-filter"], capture_output=True, check=True, text=True).stdout
groups, name = {}, None
for line in listing.splitlines():
    word = line.strip()
    if line.startswith("@"): groups[name := word] = []
    elif word.startswith("#") or not line.startswith(" "): continue
    elif name: groups[name].append(word)
def members(name):
    return set().union(*(members(each) if each.startswith("@") else {each} for each in groups[name]))
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p
def number(name): return seccomp.seccomp_syscall_resolve_name(name.encode())
ALLOW, ENOSYS, REFUSE = 0x7fff0000, 0x00050000 | 38, {"EPERM": 0x00050000 | 1, "kill": 0x80000000}[sys.argv[1]]
context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(REFUSE)))
def rule(action, call):
    if call >= 0 and seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(action), call, 0, None): sys.exit(93)
for call in members("@system-service") - members("@privileged") - members("@resources"): rule(ALLOW, number(call))
for call in set(range(600)) - {number(call) for call in members("@known")}: rule(ENOSYS, call)
socket = {"x86_64": 41, "aarch64": 198}[platform.machine()]
code = [(0x20, 0, 0, 0), (0x15, 0, 4, socket), (0x20, 0, 0, 16), (0x15, 2, 0, 2), (0x15, 1, 0, 10),
        (0x06, 0, 0, 0x00050000 | 97), (0x06, 0, 0, 0x7fff0000)]
filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(filters)))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program): sys.exit(93)
os.umask(0o077)
if seccomp.seccomp_load(context): sys.exit(93)
os.execv(sys.argv[2], sys.argv[2:])
`;

/**
 * The program, and its arguments before those of the one to confine. A refused socket is EAFNOSUPPORT, a system call that
 * systemd does not know ENOSYS.
 *
 * @param others What becomes of the other ones off the list: EPERM by SystemCallErrorNumber=EPERM; by default SIGSYS ends
 * the process.
 */
export function confinedAsBySystemd(others: "EPERM" | "kill"): [program: string, ...args: string[]] {
  return ["/usr/bin/python3", "-c", PROGRAM, others];
}
