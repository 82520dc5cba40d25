# The operator's lists: what is always refused, what is trusted, and which rules do not count where.
#
# `data.operator` comes from lists.yaml, checked when it was read: every entry names an owner and a reason, and those that
# loosen something expire. All that an entry names must fit; what it does not name does not matter.
package defenseclaw.decision

live(entry) if not entry.expires_ns

live(entry) if entry.expires_ns > input.now_ns

# A pattern is a text, or one with a `*` at its start or its end.
like(pattern, text) if pattern == text

like(pattern, text) if {
	startswith(pattern, "*")
	endswith(text, substring(pattern, 1, -1))
}

like(pattern, text) if {
	endswith(pattern, "*")
	startswith(text, substring(pattern, 0, count(pattern) - 1))
}

of_this_call(entry) if {
	fits(entry, "connector", input.connector)
	fits(entry, "tool", input.tool)
	fits_cwd(entry)
}

fits(entry, key, _) if not entry[key]

fits(entry, key, text) if like(entry[key], text)

fits_cwd(entry) if not entry.cwd

fits_cwd(entry) if like(entry.cwd, input.cwd)

paths := array.concat(input.facts.reads, input.facts.writes)

# --- Refused: one program, host or path of the call is enough ----------------------------------------------------------------

names_any(entry) if {
	names_program(entry)
	names_host(entry)
	names_path(entry)
	names_package(entry)
}

names_program(entry) if not entry.program

names_program(entry) if {
	some program in input.facts.programs
	like(entry.program, program.name)
}

names_host(entry) if not entry.host

names_host(entry) if {
	some host in input.facts.hosts
	like(entry.host, host.host)
}

names_path(entry) if not entry.path

names_path(entry) if {
	some path in paths
	like(entry.path, path.path)
}

names_package(entry) if not entry["package"]

names_package(entry) if {
	some install in input.facts.installs
	like(entry["package"], package_name(install))
}

blocked := [finding |
	count(data.operator.block) > 0
	some entry in data.operator.block
	live(entry)
	of_this_call(entry)
	names_any(entry)
	finding := {
		"rule": "list.block",
		"category": "command",
		"severity": "HIGH",
		"message": sprintf("%s is on the operator's block list: %s", [entry.subject, entry.reason]),
		"remedy": sprintf("Ask %s", [entry.owner]),
		"evidence": [entry.subject],
		"confidence": 100,
	}
]

# --- Trusted: every program, host and path of the call must be ------------------------------------------------------------------

# What is critical is never trusted by a list; an exception must name the rule.
allowed(finding) if {
	count(trusting) > 0
	finding.severity != "CRITICAL"
}

trusting := [entry |
	some entry in data.operator.allow
	live(entry)
	of_this_call(entry)
	all_programs(entry)
	all_hosts(entry)
	all_paths(entry)
	all_packages(entry)
]

all_programs(entry) if not entry.program

all_programs(entry) if {
	count(input.facts.programs) > 0
	every program in input.facts.programs { like(entry.program, program.name) }
}

all_hosts(entry) if not entry.host

all_hosts(entry) if {
	count(input.facts.hosts) > 0
	every host in input.facts.hosts { like(entry.host, host.host) }
}

all_paths(entry) if not entry.path

all_paths(entry) if {
	count(paths) > 0
	every path in paths { like(entry.path, path.path) }
}

all_packages(entry) if not entry["package"]

all_packages(entry) if {
	count(input.facts.installs) > 0
	every install in input.facts.installs { like(entry["package"], package_name(install)) }
}

# --- Excepted: one rule, where the entry says ------------------------------------------------------------------------------------

waived := [waiver |
	count(data.operator.exceptions) > 0
	some place, finding in input.findings
	waiver := {"finding": place, "by": fitting(finding)[0].owner, "reason": fitting(finding)[0].reason}
]

fitting(finding) := [entry |
	some entry in data.operator.exceptions
	live(entry)
	like(entry.rule, finding.rule)
	of_this_call(entry)
	names_program(entry)
	all_hosts(entry)
	all_paths(entry)
	all_packages(entry)
]

set_aside := {waiver.finding | some waiver in waived}
