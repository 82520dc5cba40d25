//! The words that other languages' source text is looked over for, in groups that mean the same.

use super::code_paths;

/// A group of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// A URL.
    Url,
    /// Calls that decode.
    Decodes,
    /// Calls that run something.
    Executes,
    /// Calls that run a text of their own language, if nothing stands before that makes them something else.
    Evaluates,
    /// Calls that run a text.
    RunsText,
    /// Compiles an expression, no text.
    CompilesExpression,
    /// Hands a text to a shell, in Python.
    OsSystem,
    /// Calls that run what a decoder gives.
    RunsDecoded,
    /// Ways to hand a shell over to whoever is connected.
    HandsOver,
    /// Calls that open a shell for a person.
    OpensShell,
    /// Words that reach another host.
    Connects,
    /// Words that only fetch from one.
    Fetches,
    /// Sockets.
    Socket,
    /// What is done with a socket that is handed over.
    Peers,
    /// What a server's socket does.
    Listens,
    /// The word by which a socket is a client's.
    Connect,
    /// Calls behind which the address stands that a socket is connected to, the most telling first.
    ConnectsTo,
    /// More of them, which say so only where a socket takes in commands.
    NamesPeer,
    /// Words that open a socket or a queue.
    OpensSocket,
    /// Words that take something in from it.
    Receives,
    /// Calls that may run what was fetched.
    RunsFetched,
    /// Calls that may run what was received.
    RunsReceived,
    /// Node's module for processes.
    ChildProcess,
    /// Its calls.
    NodeRuns,
    /// Perl's and Ruby's ways to run what a variable holds.
    RunsVariable,
    /// Servers.
    Serves,
    /// This host.
    ThisHost,
    /// Becomes root.
    BecomesRoot,
    /// Restarts the host.
    Reboots,
    /// Makes a file that only memory holds.
    Memfd,
    /// Reaches into another process.
    Traces,
    /// Reads what is typed.
    ReadsKeys,
    /// Makes processes.
    Forks,
    /// Never ends.
    Loops,
    /// All variables of the environment.
    WholeEnvironment,
    /// What comes in on the standard input.
    StandardInput,
    /// Calls that write, copy, move or link the files that they name.
    HandlesFile,
    /// Calls that delete a tree of folders.
    DeletesTree,
    /// Calls that delete one file, which in a loop is all of them.
    DeletesFile,
    /// The same as a path's own method.
    UnlinksPath,
    /// What lists a folder, whatever it is listed for.
    Lists,
    /// What deletes a file whose name a variable holds.
    Deletes,
    /// Calls that hand a text to a shell, or words to a program; the first that fits counts.
    Shells,
    /// Texts by which programs open a shell in their own language.
    EscapesToShell,
}

impl Group {
    /// Its words.
    pub(super) const fn words(self) -> &'static [&'static str] {
        GROUPS[self as usize].1
    }

    /// All groups with their words, in the order in which they are declared.
    pub(super) fn all() -> impl Iterator<Item = (Self, &'static [&'static str])> {
        GROUPS.iter().copied()
    }
}

const GROUPS: &[(Group, &[&str])] = &[
    (Group::Url, &["://"]),
    (
        Group::Decodes,
        &[
            "b64decode",
            "base64",
            "fromhex",
            "unhexlify",
            "atob(",
            "decode64",
            "unpack(",
            "codecs.decode",
            "marshal.loads",
            "zlib.decompress",
            "fromCharCode",
            "gzinflate",
            "str_rot13",
            "unescape(",
        ],
    ),
    (
        Group::Executes,
        &[
            "exec(",
            "eval(",
            "system(",
            "popen",
            "subprocess",
            "child_process",
            "spawn(",
            "__import__('os')",
        ],
    ),
    (Group::Evaluates, &["exec(", "eval("]),
    (
        Group::RunsText,
        &[
            "os.system(",
            "execSync(",
            "new Function(",
            ".then(eval",
            "import('data:",
            "import(\"data:",
            "vm.runIn",
            "._compile(",
            "eval base64",
            "eval get",
            "eval $",
            "eval(",
            "iex ",
            "IEX(",
            "compile(",
        ],
    ),
    (Group::CompilesExpression, &["re.compile("]),
    (Group::OsSystem, &["os.system("]),
    (
        Group::RunsDecoded,
        &[
            "exec(",
            "eval(",
            "eval ",
            "Function(",
            "os.system(base64",
            "loads(",
        ],
    ),
    (
        Group::HandsOver,
        &[
            "->fdopen",
            "system$_",
            "dup2",
            "pty.spawn",
            "\"/bin/sh\"",
            "'/bin/sh'",
            "/bin/sh -i",
            "/bin/bash",
            "open(STDIN",
            "STDIN,\">&",
            ".spawn(",
            "exec(\"sh",
            "exec \"/bin",
            "proc_open",
            "to_s|sh",
            "cmd.exe",
            "/bin/sh",
        ],
    ),
    (
        Group::OpensShell,
        &[
            "system('/bin/sh')",
            "system('/bin/bash')",
            "exec('/bin/sh')",
            "exec(\"/bin/sh\")",
            "pty.spawn(",
            "os.execl(\"/bin",
            "os.execl('/bin",
            "os.execvp(\"/bin",
            "os.system(\"/bin/sh\")",
            "os.system('/bin/sh')",
            "os.system(\"/bin/bash\")",
            "os.system('/bin/bash')",
            "os.system(\"sh\")",
            "exec \"/bin/sh\"",
            "exec '/bin/sh'",
            "exec \"/bin/bash\"",
            "system(\"/bin/sh\")",
            "spawn(\"/bin/sh\"",
            "spawn('/bin/sh'",
            "os.execute(\"/bin/sh\")",
            "os.execute('/bin/sh')",
            "pcntl_exec(\"/bin",
            "passthru(\"/bin/sh",
            "exec {\"/bin/sh\"",
            "spawnSync(\"/bin/sh\"",
            "execSync('/bin/sh'",
        ],
    ),
    (
        Group::Connects,
        &[
            "urlopen",
            "requests.",
            "http.client",
            "httpx.",
            "aiohttp",
            "socket",
            "fetch(",
            "axios",
            "http.request",
            "https.request",
            "http.get",
            "https.get",
            "Net::HTTP",
            "open-uri",
            "LWP",
            "HTTP::Tiny",
            "curl_init",
            "file_get_contents('http",
            "file_get_contents(\"http",
            "fsockopen",
            "smtplib",
            "ftplib",
            "paramiko",
            "XMLHttpRequest",
            "URI.open",
            "net.connect",
            "Invoke-WebRequest",
            "WebClient",
        ],
    ),
    (
        Group::Fetches,
        &[
            "urlopen",
            "requests.get",
            "httpx.get",
            "fetch(",
            "axios.get",
            "http.get",
            "https.get",
            "https').get(",
            "https\").get(",
            "http').get(",
            "http\").get(",
            "Net::HTTP.get",
            "URI.open",
            "open(\"http",
            "open('http",
            "LWP::Simple",
            "get(\"http",
            "get('http",
            "file_get_contents('http",
            "file_get_contents(\"http",
            "urlretrieve",
            "WebClient",
            "DownloadString",
            "Invoke-WebRequest",
        ],
    ),
    (
        Group::Socket,
        &[
            "socket",
            "Socket",
            "fsockopen",
            "net.connect",
            "net\").connect",
            "net').connect",
            "net.Socket",
            "TCPClient",
        ],
    ),
    (
        Group::Peers,
        &[
            "connect",
            "fsockopen",
            "TCPSocket",
            "TCPClient",
            "bind(",
            "PeerAddr",
        ],
    ),
    (
        Group::Listens,
        &[".bind(", "TCPServer", "createServer", "listen("],
    ),
    (Group::Connect, &["connect"]),
    (
        Group::ConnectsTo,
        &[
            "connect((",
            "connect(",
            "fsockopen(",
            "TCPSocket.open(",
            "TCPSocket.new(",
            "TCPClient(",
        ],
    ),
    (
        Group::NamesPeer,
        &[
            "PeerAddr",
            "PeerHost",
            "open_connection(",
            "TcpStream::connect(",
            "net.Dial(",
        ],
    ),
    (
        Group::OpensSocket,
        &[
            "socket",
            "Socket",
            "net.connect",
            "net').connect",
            "net\").connect",
            "open_connection",
            "createServer",
            "start_server",
            "TCPServer",
            "WebSocket",
            "websockets.",
            "TcpStream",
            "net.Dial",
            "TcpClient",
            "socketio",
            "socket.io",
            "paho.mqtt",
            "mqtt.",
            "pika.",
            "nats.",
            "pubsub(",
        ],
    ),
    (
        Group::Receives,
        &[
            "recv(",
            "readline",
            "readuntil",
            ".on('data'",
            ".on(\"data\"",
            ".on('message'",
            ".on(\"message\"",
            "onmessage",
            "while(<$",
            "while (<$",
            "=<$",
            ".gets",
            "rfile",
            "makefile(",
            "fgets(",
            "async for",
            "await r.read",
            "@sio.",
            "on_message",
            "basic_consume",
            "subscribe(",
            ".lines()",
            "ReadString(",
            "ReadLine(",
            "readLine(",
            "NewScanner(",
        ],
    ),
    (
        Group::RunsFetched,
        &[
            "os.popen(",
            "os.system(",
            "getoutput(",
            "check_output(",
            "subprocess.run(",
            "subprocess.call(",
            "Popen(",
            "create_subprocess_shell(",
            "execSync(",
            " exec(",
            ".exec(",
            "shell_exec(",
            "IO.popen(",
            "system(",
            "eval(",
            "Invoke-Expression ",
            "Open3.capture2e(",
            "Open3.capture2(",
            "Open3.capture3(",
            "`#{",
        ],
    ),
    (
        Group::RunsReceived,
        &[
            "os.popen(",
            "os.system(",
            "getoutput(",
            "check_output(",
            "subprocess.run(",
            "subprocess.call(",
            "Popen(",
            "create_subprocess_shell(",
            "execSync(",
            "shell_exec(",
            "IO.popen(",
            "io.popen(",
            "os.execute(",
            "exec.Command(",
            "Open3.capture2e(",
            "Open3.capture2(",
            "Open3.capture3(",
            "\"-c\", ",
            "\"-c\").arg(",
            "\"-c\",",
        ],
    ),
    (Group::ChildProcess, &["child_process"]),
    (Group::NodeRuns, &[".exec(", " exec(", ".spawn("]),
    (Group::RunsVariable, &["`$_`", "qx($", "qx{$", "system($", "`#{"]),
    (
        Group::Serves,
        &[
            "TCPServer",
            "createServer(",
            "start_server(",
            ".bind(",
            "WebSocketServer",
        ],
    ),
    (Group::ThisHost, &["127.0.0.1", "localhost"]),
    (
        Group::BecomesRoot,
        &[
            "setuid(0)",
            "setuid 0",
            "Process::Sys.setuid(0)",
            "setreuid(0",
            "POSIX::setuid(0",
            "posix_setuid(0",
            "process.setuid(0",
        ],
    ),
    (Group::Reboots, &["LINUX_REBOOT_CMD", ".reboot(0x"]),
    (Group::Memfd, &["memfd_create", "syscall(319"]),
    (Group::Traces, &["PTRACE_", "ptrace(", "process_vm_writev"]),
    (
        Group::ReadsKeys,
        &[
            "pynput",
            "keyboard.on_press",
            "keyboard.record",
            "pyxhook",
            "/dev/input/event",
        ],
    ),
    (Group::Forks, &["os.fork()", "fork while", "while fork", "fork()"]),
    (
        Group::Loops,
        &[
            "while True",
            "while 1",
            "while(1)",
            "while true",
            "fork while",
            "for(;;)",
            "loop {",
        ],
    ),
    (
        Group::WholeEnvironment,
        &[
            "dict(os.environ)",
            "os.environ.items()",
            "str(os.environ)",
            "JSON.stringify(process.env)",
            "ENV.to_h",
            "os.environ)",
            "%ENV",
            "$_ENV",
            "getenv()",
        ],
    ),
    (Group::StandardInput, &["stdin", "STDIN", "ARGF", "/dev/stdin"]),
    (Group::HandlesFile, code_paths::WORDS),
    (
        Group::DeletesTree,
        &[
            "rmtree(",
            "rmSync(",
            "rm_rf(",
            "rm_r(",
            "rimraf(",
            "removeSync(",
            "rmdirSync(",
            "Deno.remove(",
            "Deno.removeSync(",
            "remove_tree(",
            "remove_dir_all(",
        ],
    ),
    (
        Group::DeletesFile,
        &[
            "os.remove(",
            "os.unlink(",
            "unlinkSync(",
            "unlink glob(",
            "File.delete(",
            "FileUtils.rm(",
        ],
    ),
    (Group::UnlinksPath, &["'.unlink("]),
    (
        Group::Lists,
        &[
            "listdir(",
            "os.walk(",
            "scandir(",
            "glob(",
            "iterdir(",
            "readdirSync(",
            "readdir(",
            "DirectoryIterator(",
            "opendir(",
            "opendir ",
            "Find.find(",
            "Dir.children(",
            "Dir.each_child(",
            "Files.walk(",
            "WalkDir",
            "filepath.Walk(",
            "read_dir(",
            "find(sub",
            "finddepth(",
        ],
    ),
    (
        Group::Deletes,
        &[
            "unlink($",
            "unlink(",
            "unlink $",
            "unlinkSync(",
            "os.remove(",
            "File.delete(",
            "FileUtils.rm",
            "rmtree(",
            "rmSync(",
            "Files.delete(",
            "os.Remove(",
            "os.RemoveAll(",
            "remove_file(",
            "remove_dir_all(",
            ".unlink()",
        ],
    ),
    (
        Group::Shells,
        &[
            "os.system(",
            "os.popen(",
            "subprocess.run(",
            "subprocess.call(",
            "subprocess.Popen(",
            "subprocess.check_output(",
            "subprocess.check_call(",
            "subprocess.getoutput(",
            "execSync(",
            "exec(",
            "spawn(",
            "spawnSync(",
            "execFileSync(",
            "execFile(",
            "system(",
            "shell_exec(",
            "passthru(",
            "popen(",
            "Kernel.exec(",
            "os.execute(",
            "io.popen(",
            "%x(",
            "system ",
            "exec ",
            "qx(",
        ],
    ),
    (
        Group::EscapesToShell,
        &[
            ":!/bin/sh",
            ":!sh",
            ":!bash",
            ":!/bin/bash",
            ":shell",
            ":sh",
            ":terminal",
            "!/bin/sh",
            "!sh",
            "!bash",
            "!/bin/bash",
            "\\! /bin",
            "\\!sh",
            "\\! sh",
            "\\! bash",
            ".shell ",
            ".system ",
            "os.execute",
            "os.execl",
            "os.system",
            "pty.spawn",
            "system(\"/bin",
            "system('/bin",
            "system(\"sh\")",
            "system(\"bash",
            "exec sh",
            "exec /bin/sh",
            "exec /bin/bash",
            "exec \"/bin",
            "exec '/bin",
            "spawn /bin/sh",
            "spawn sh",
            "spawn /bin/bash",
            "spawn bash",
            "(term \"",
            "%{lua:",
            "posix_spawn",
            "reset; exec sh",
            "1e exec",
            "1e sh",
            "!{sh",
            "backtick",
            "shell_exec",
            "\\write18",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_stands_where_its_number_says() {
        assert!(GROUPS.len() <= u64::BITS as usize);
        for (at, (group, words)) in GROUPS.iter().enumerate() {
            assert_eq!(*group as usize, at, "{group:?}");
            assert!(!words.is_empty(), "{group:?}");
        }
        assert_eq!(GROUPS.len(), Group::EscapesToShell as usize + 1);
    }
}
