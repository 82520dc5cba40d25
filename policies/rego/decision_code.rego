# Code that would run without anyone having read it.
package defenseclaw.decision

# --- Which program takes what comes through a pipe or substitution as code -------------------------------------------

code_option(word) if data.lists.code_options[word]

# A cluster of a shell's options: `-lc`.
code_option(word) if {
	startswith(word, "-")
	not startswith(word, "--")
	endswith(word, "c")
}

substituted(word) if contains(word, "$(")

substituted(word) if contains(word, "`")

# Its own words say what it runs: a text, a module or a file. `-` and `<(…)` are the pipe itself.
runs_own_words(program) if {
	some word in array.slice(program.argv, 1, count(program.argv))
	own_code(word)
	not "-s" in program.argv
}

own_code(word) if code_option(word)

own_code(word) if {
	not startswith(word, "-")
	not startswith(word, "<(")
	not word in {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
}

takes_code(program) if data.lists.evaluators[program.name]

# A program that a variable names, with nothing to say what it would run: `while read line; do $line; done`.
takes_code(program) if {
	startswith(program.name, "$")
	not runs_own_words(program)
}

takes_code(program) if {
	data.lists.interpreters[program.name]
	not runs_own_words(program)
}

# The text for `-c` is itself what a command printed.
takes_code(program) if {
	data.lists.interpreters[program.name]
	some at, word in program.argv
	code_option(word)
	substituted(program.argv[at + 1])
}

# The text for `-c` is wholly what a variable holds: `while read line; do sh -c "$line"; done`.
takes_code(program) if {
	data.lists.interpreters[program.name]
	some at, word in program.argv
	code_option(word)
	text := trim(program.argv[at + 1], "\"")
	startswith(text, "$")
	not contains(text, " ")
}

code_pipes := [pipe |
	some pipe in input.facts.pipes
	takes_code(input.facts.programs[pipe.to])
]

# --- Where that code comes from ------------------------------------------------------------------------------------

writes_to[pipe.from] contains pipe.to if some pipe in input.facts.pipes

from_network(program) if data.lists.network_programs[program.name]

from_network(program) if {
	program.name == "openssl"
	"s_client" in program.argv
}

decodes(program) if {
	program.name in {"base64", "base32", "openssl"}
	some word in program.argv
	word in {"-d", "-D", "--decode", "-di", "-id"}
}

decodes(program) if {
	program.name == "xxd"
	some word in program.argv
	startswith(word, "-r")
}

decodes(program) if program.name == "uudecode"

# Text that stands in the call itself, in a local file, or comes from a tool made to print shell settings.
known_text(program) if data.lists.text_writers[program.name]

known_text(program) if data.lists.setup_writers[program.name]

known_text(program) if decodes(program)

known_text(program) if from_network(program)

# Pipes into code whose data went through one of `starts`.
code_through(starts) := [pipe |
	passed := graph.reachable(writes_to, starts)
	some pipe in code_pipes
	pipe.from in passed
]

network_code := code_through({at | some at, program in input.facts.programs; from_network(program)}) if count(code_pipes) > 0

decoded_code := code_through({at | some at, program in input.facts.programs; decodes(program)}) if count(code_pipes) > 0

unknown_code := code_through({at | some at, program in input.facts.programs; not known_text(program)}) if count(code_pipes) > 0

program_name(at) := input.facts.programs[at].name

code_objections contains {
	"rule": "command.network-to-interpreter",
	"category": "command",
	"verdict": "deny",
	"severity": "HIGH",
	"message": sprintf("%s would run what comes from the network, unread", [program_name(pipe.to)]),
	"remedy": "Download it to a file, read it, then run the file",
	"evidence": array.concat([program_name(pipe.from), program_name(pipe.to)], host_names),
	"confidence": 95,
} if {
	pipe := network_code[0]
}

code_objections contains {
	"rule": "command.decoded-code",
	"category": "command",
	"verdict": "ask",
	"severity": "HIGH",
	"message": sprintf("%s would run text that was encoded so that nobody can read it", [program_name(pipe.to)]),
	"remedy": "Write the code in the clear",
	"evidence": [program_name(pipe.from), program_name(pipe.to)],
	"confidence": 85,
} if {
	pipe := decoded_code[0]
}

code_objections contains {
	"rule": "command.decoded-code",
	"category": "command",
	"verdict": "ask",
	"severity": "HIGH",
	"message": "inline code would decode a text and run it",
	"remedy": "Write the code in the clear",
	"evidence": [],
	"confidence": 75,
} if {
	some opaque in input.facts.opaque
	opaque.why == "encoding"
}

code_objections contains {
	"rule": "command.unknown-code",
	"category": "command",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": sprintf("%s would run what %s prints, which the call does not show", [program_name(pipe.to), program_name(pipe.from)]),
	"remedy": "Write the output to a file, read it, then run the file",
	"evidence": [program_name(pipe.from), program_name(pipe.to)],
	"confidence": 60,
} if {
	pipe := unknown_code[0]
}

code_objections contains {
	"rule": "command.unknown-code",
	"category": "command",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": "eval would run what a variable holds, which the call does not show",
	"remedy": "Write the command out",
	"evidence": [],
	"confidence": 60,
} if {
	some opaque in input.facts.opaque
	opaque.why == "eval"
}

code_objections contains {
	"rule": "command.unknown-program",
	"category": "command",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": "the program to run is itself the output of a command",
	"remedy": "Name the program",
	"evidence": [],
	"confidence": 60,
} if {
	some program in suspects
	substituted(program.name)
	not startswith(program.name, "$(which ")
	not startswith(program.name, "$(command -v ")
}

code_objections contains {
	"rule": "command.unreadable",
	"category": "command",
	"verdict": "ask",
	"severity": "MEDIUM",
	"message": sprintf("this command cannot be read to its end (%s), so what it does is not known", [opaque.why]),
	"remedy": "Make it shorter and close its quotes, or put it into a script that can be read",
	"evidence": [opaque.why],
	"confidence": 70,
} if {
	some opaque in input.facts.opaque
	opaque.why in {"unterminated", "too-deep", "too-large"}
}

# --- A shell handed to someone on the network --------------------------------------------------------------------------

socket_path(path) if startswith(path, "/dev/tcp/")

socket_path(path) if startswith(path, "/dev/udp/")

opens_socket if {
	some fact in array.concat(input.facts.reads, input.facts.writes)
	socket_path(fact.path)
}

# `/dev/tcp` also serves to see whether a port is open; a shell on it does not.
reverse_shell contains "a shell is connected to a network socket" if {
	opens_socket
	some program in suspects
	data.lists.shells[program.name]
	not runs_own_words(program)
}

reverse_shell contains "commands read from a network socket are run" if {
	opens_socket
	some program in suspects
	startswith(program.name, "$")
}

reverse_shell contains "netcat runs a program for whoever is connected" if {
	some program in suspects
	program.name in {"nc", "ncat", "netcat"}
	some word in program.argv
	word in {"-e", "-c", "--exec", "--sh-exec", "--lua-exec"}
}

reverse_shell contains "socat runs a program for whoever is connected" if {
	some program in suspects
	program.name == "socat"
	some word in program.argv
	some start in ["exec:", "system:"]
	startswith(lower(word), start)
}

reverse_shell contains "a shell's output is sent to netcat, whose output is run" if {
	some pipe in input.facts.pipes
	data.lists.shells[program_name(pipe.from)]
	program_name(pipe.to) in {"nc", "ncat", "netcat", "telnet", "socat", "openssl"}
	not runs_own_words(input.facts.programs[pipe.from])
}

reverse_shell contains "inline code connects a shell to a network socket" if {
	some program in suspects
	data.lists.interpreters[program.name]
	some word in program.argv
	contains(lower(word), "socket")
	some hands_over in ["dup2", "pty.spawn", "/bin/sh", "/bin/bash", "open(STDIN", ".spawn(", "subprocess", "fsockopen"]
	contains(word, hands_over)
}

code_objections contains {
	"rule": "command.reverse-shell",
	"category": "command",
	"verdict": "deny",
	"severity": "CRITICAL",
	"message": sprintf("this has the shape of a reverse shell: %s", [how]),
	"remedy": "No agent needs to hand a shell to the network",
	"evidence": host_names,
	"confidence": 90,
} if {
	how := [shape | some shape in reverse_shell][0]
}
