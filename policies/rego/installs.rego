# What a call would install: `input.facts.installs`, weighed.
#
# Packages of a project are everyday work: what is told here of them is recorded, unless a name is a slip from a well-known one
# or what arrives can be changed on its way. What extends the agent itself (a server, a plugin, a skill) is asked about, unless it
# was admitted already, the operator's lists allow it, or it comes from a publisher that the agents' own documentation names.
#
# Where the host is configured so, packages are fetched and scanned before: `input.packages` then says what is known of each. What was
# scanned is a version with its checksum; where the call leaves the version open, another may be installed, and that is said.
#
# Each rule gives one finding at most, about all that it fits. Hosts are data (`data.installs`).
package defenseclaw.decision

# What counts, the worst first, and what is told: exceptions take from the one, not from the other.
installed := counted_installs if installs_to_weigh

installed := [] if not installs_to_weigh

counted_installs := [told.finding | some told in install_findings; count(told.waivers) == 0]

told_installs := [] if not installs_to_weigh

told_installs := [finding |
	some told in install_findings
	by := [sprintf("set aside by %s: %s", [waiver.owner, waiver.reason]) | some waiver in told.waivers]
	finding := object.union(told.finding, {"evidence": array.concat(told.finding.evidence, by)})
] if {
	installs_to_weigh
}

# Everyday installs and packages that the lists allow are not weighed at all.
weighed := [install |
	some install in input.facts.installs
	not everyday(install)
	not listed_package(install)
]

# Has nothing that any of `install_rules` asks for: from the ecosystem's own registry or by a lock file, by a name that is no slip, not for
# an agent. Most installs are: they are told from the rest once, and not by each rule.
everyday(install) if {
	not install.source in {"git", "url", "alias", "inline"}
	install.into != "agent"
	not install.ecosystem in {"docker", "vscode"}
	not install.from
	not install.registry
	not install.extra_registry
	not install.credentials
	not install.like
	runs_as_asked(install)
}

runs_as_asked(install) if not install.runs_now

runs_as_asked(install) if install.known

runs_as_asked(install) if install.version == "exact"

# What the first clause of the decision asks.
installs_to_weigh if {
	input.facts.installs
	any_to_weigh
}

any_to_weigh if weighed != []

any_to_weigh if input.packages

listed_package(install) if {
	some entry in data.operator.allow
	entry["package"]
	live(entry)
	of_this_call(entry)
	all_programs(entry)
	all_hosts(entry)
	all_paths(entry)
	like(entry["package"], package_name(install))
}

# How lists name it: `npm:left-pad`, `mcp:files`.
package_name(install) := concat(":", [install.ecosystem, install.name])

install_findings := [told |
	some rule in array.concat(rules_of_packages, install_rules)
	count(rule.fits) > 0
	finding := {
		"rule": rule.id,
		"category": "trust-exploit",
		"severity": rule.severity,
		"message": message_of(rule),
		"remedy": rule.remedy,
		"evidence": [evidence_of(fit) | some fit in rule.fits],
		"confidence": rule.confidence,
	}
	told := {"finding": finding, "waivers": fitting(finding)}
]

shown(install) := package_name(install) if object.get(install, "from", "") == ""

shown(install) := sprintf("%s from %s", [package_name(install), install.from]) if object.get(install, "from", "") != ""

# A package with what is known of it, and an install.
evidence_of(fit) := file(fit) if fit.state

evidence_of(fit) := shown(fit) if not fit.state

first_of(fits) := shown(fits[0]) if count(fits) > 0

first_of(fits) := "" if count(fits) == 0

message_of(rule) := rule.message if rule.message

message_of(rule) := look_alike_message if rule.id == "install.look-alike"

message_of(rule) := sprintf(rule.says, [first_of(rule.fits)]) if {
	rule.says
	rule.id != "install.look-alike"
}

rules_of_packages := package_rules if input.packages

rules_of_packages := [] if not input.packages

# `says` is made a message of only where the rule fits: most installs are everyday work, and no rule fits them.
install_rules := [
	{
		"id": "install.look-alike", "severity": "HIGH", "confidence": 88, "fits": look_alikes,
		"says": "",
		"remedy": "Install the package that is meant, by its exact name",
	},
	{
		"id": "install.agent", "severity": "MEDIUM", "confidence": 75, "fits": capabilities,
		"says": "this would give the agent something new that nobody has admitted: %s",
		"remedy": "Let the person look at it first; defenseclaw-cli scan shows what is in it",
	},
	{
		"id": "install.open-way", "severity": "MEDIUM", "confidence": 75, "fits": open_ways,
		"says": "what %s brings can be changed by anyone on its way: its address has no encryption",
		"remedy": "Use an https address",
	},
	{
		"id": "install.login-in-address", "severity": "MEDIUM", "confidence": 70, "fits": logins,
		"says": "the address of %s carries a password or token",
		"remedy": "Let git or the package manager log in by its own means",
	},
	{
		"id": "install.unknown-address", "severity": "MEDIUM", "confidence": 70, "fits": addresses,
		"says": "%s comes from an address where packages are not usually published",
		"remedy": "Install it from its registry",
	},
	{
		"id": "install.alias", "severity": "MEDIUM", "confidence": 68, "fits": aliases,
		"says": "under another package's name this would install %s",
		"remedy": "Install it by its own name",
	},
	{
		"id": "install.agent-image", "severity": "MEDIUM", "confidence": 68, "fits": images,
		"says": "this would run an image made for agents, from a publisher that nobody named: %s",
		"remedy": "Let the person look at the image first",
	},
	{
		"id": "install.extra-registry", "severity": "MEDIUM", "confidence": 60, "fits": extras,
		"says": "whoever has the higher version number decides where %s comes from",
		"remedy": "Name one registry, or pin the versions",
	},
	{
		"id": "install.unknown-registry", "severity": "LOW", "confidence": 60, "fits": registries,
		"says": "%s comes from another registry than its own",
		"remedy": "Make sure that the registry is the one that is meant",
	},
	{
		"id": "install.unpinned-run", "severity": "LOW", "confidence": 60, "fits": unpinned,
		"says": "whatever version of %s is the newest today runs at once",
		"remedy": "Name one version",
	},
	{
		"id": "install.agent-text", "severity": "LOW", "confidence": 60, "fits": texts,
		"says": "this writes something that an agent follows: %s",
		"remedy": "Read it before it is used",
	},
]

package_rules := [
	{
		"id": "install.scan-found", "severity": "CRITICAL", "confidence": surest(found_in("CRITICAL")), "fits": found_in("CRITICAL"),
		"message": found_message(found_in("CRITICAL")),
		"remedy": "Do not install it",
	},
	{
		"id": "install.scan-found", "severity": "HIGH", "confidence": surest(found_in("HIGH")), "fits": found_in("HIGH"),
		"message": found_message(found_in("HIGH")),
		"remedy": "Do not install it before the person has looked at it: defenseclaw-cli scan package shows all that is in it",
	},
	{
		"id": "install.altered", "severity": "HIGH", "confidence": 95, "fits": in_state({"altered"}),
		"message": sprintf("what came is not what its registry says it is: %s", [detailed(in_state({"altered"}))]),
		"remedy": "Do not install it; somebody between here and the registry may have changed it",
	},
	{
		"id": "install.unreachable", "severity": "HIGH", "confidence": 90, "fits": unreachable("deny"),
		"message": sprintf("its registry could not be asked, and nothing is installed here unseen: %s", [detailed(unreachable("deny"))]),
		"remedy": "Try again when the registry can be reached",
	},
	{
		"id": "install.unreachable", "severity": "MEDIUM", "confidence": 70, "fits": unreachable("ask"),
		"message": sprintf("its registry could not be asked, so nobody has looked at it: %s", [detailed(unreachable("ask"))]),
		"remedy": "Try again when the registry can be reached, or let the person decide",
	},
	{
		"id": "install.being-scanned", "severity": "MEDIUM", "confidence": 70, "fits": in_state({"scanning"}),
		"message": sprintf("%s is still being fetched and scanned", [names(in_state({"scanning"}))]),
		"remedy": "Make the same call again in a moment; `defenseclaw-cli audit query --kind package` shows what came of it",
	},
	{
		"id": "install.not-scanned", "severity": "MEDIUM", "confidence": 70, "fits": in_state({"elsewhere", "too_large", "unscanned", "busy"}),
		"message": sprintf("nobody has looked at what this would install: %s", [detailed(in_state({"elsewhere", "too_large", "unscanned", "busy"}))]),
		"remedy": "Let the person decide",
	},
	{
		"id": "install.absent", "severity": "MEDIUM", "confidence": 70, "fits": in_state({"absent"}),
		"message": sprintf("its registry does not have %s; the name may be made up, and whoever registers it first decides what it is", [names(in_state({"absent"}))]),
		"remedy": "Make sure of the name and version",
	},
	{
		"id": "install.other-version", "severity": "MEDIUM", "confidence": 68, "fits": other_versions,
		"message": sprintf("another version than the call asks for was scanned: %s", [files(other_versions)]),
		"remedy": "Name the version that was scanned",
	},
	{
		"id": "install.scan-doubts", "severity": "LOW", "confidence": 60, "fits": found_in("MEDIUM"),
		"message": found_message(found_in("MEDIUM")),
		"remedy": "Read what was found before relying on it",
	},
	{
		"id": "install.open-version", "severity": "LOW", "confidence": 60, "fits": open_versions,
		"message": sprintf("the call names no exact version, so another than the one that was scanned may be installed: %s", [files(open_versions)]),
		"remedy": "Name the version that was scanned",
	},
	{
		"id": "install.unreachable", "severity": "LOW", "confidence": 60, "fits": unreachable("allow"),
		"message": sprintf("its registry could not be asked, and this host is configured to go on: %s", [detailed(unreachable("allow"))]),
		"remedy": "Look at it with defenseclaw-cli scan package when the registry can be reached",
	},
]

# --- Names -------------------------------------------------------------------------------------------------------------------

look_alikes := [install | some install in weighed; object.get(install, "like", "") != ""]

look_alike_message := sprintf("%s is one slip away from the well-known %s", [package_name(look_alikes[0]), look_alikes[0].like]) if {
	count(look_alikes) > 0
}

look_alike_message := "" if count(look_alikes) == 0

# A well-known name in front of another package.
aliases := [install |
	some install in weighed
	install.source == "alias"
	not install.known
	not contains(install.name, install.from)
	not contains(install.from, install.name)
]

# --- Ways --------------------------------------------------------------------------------------------------------------------

open_ways := [install |
	some install in weighed
	unencrypted(install)
	not among(data.installs["private"], install)
]

unencrypted(install) if {
	some address in [object.get(install, "from", ""), object.get(install, "registry", "")]
	some start in ["http://", "git://", "ftp://"]
	startswith(address, start)
}

logins := [install | some install in weighed; install.credentials]

addresses := [install |
	some install in weighed
	install.source in {"url", "git"}
	not install.ecosystem in {"script", "git"}
	install.into != "agent"
	not among(data.installs.forges, install)
	not among(data.installs["private"], install)
	not unencrypted(install)
]

extras := [install |
	some install in weighed
	install.extra_registry
	not among(data.installs.registries, install)
	not among(data.installs["private"], install)
]

registries := [install |
	some install in weighed
	install.registry
	not install.extra_registry
	not among(data.installs.registries, install)
	not unencrypted(install)
]

among(patterns, install) if {
	some pattern in patterns
	like(pattern, install.host)
}

unpinned := [install |
	some install in weighed
	install.runs_now
	install.source == "registry"
	install.version != "exact"
	not install.known
	install.ecosystem in {"npm", "pypi", "go"}
]

# --- What the agent itself is given --------------------------------------------------------------------------------------------

extends_agent(install) if {
	install.into == "agent"
	install.ecosystem in {"mcp", "plugin", "skill"}
}

# An editor's extension that is not the marketplace's.
extends_agent(install) if {
	install.ecosystem == "vscode"
	install.source in {"url", "file"}
}

capabilities := [install |
	some install in weighed
	extends_agent(install)
	install.source != "inline"
	not install.known
	not admitted(install)
]

texts := [install |
	some install in weighed
	install.into == "agent"
	install.source == "inline"
	not admitted(install)
]

# `input.admitted` is what the install gate has let pass of what the call names; absent where nobody asked it.
admitted(install) if {
	some artifact in input.admitted
	artifact.kind == install.ecosystem
	artifact.name == install.name
}

images := [install |
	some install in weighed
	install.ecosystem == "docker"
	install.into != "agent"
	not install.known
	contains(lower(install.name), "mcp")
]

# What the packs say of the same addition does not count where every part of it was admitted or allowed.
answered(finding) if {
	input.facts.installs
	finding.rule in data.installs.added_by
	added := [install | some install in input.facts.installs; extends_agent(install)]
	count(added) > 0
	every install in added { settled(install) }
}

settled(install) if admitted(install)

settled(install) if listed_package(install)

# --- What is known of packages before they are installed -------------------------------------------------------------------------

# Those that the lists allow are not weighed.
looked_at := [known | some known in input.packages; not listed_package(known)]

in_state(states) := [known | some known in looked_at; known.state in states]

unreachable(answer) := [known | some known in in_state({"unreachable"}); known.unreachable == answer]

found_in(severity) := [known | some known in in_state({"scanned"}); known.severity == severity]

open_versions := [known | some known in in_state({"scanned"}); known.fit == "open"]

other_versions := [known | some known in in_state({"scanned"}); known.fit == "other"]

surest(found) := max(array.concat([0], [known.confidence | some known in found]))

names(found) := concat(", ", [package_name(known) | some known in found])

# The version and the file that were looked at.
file(known) := package_name(known) if known.version == ""

file(known) := sprintf("%s %s (%s)", [package_name(known), known.version, known.integrity]) if known.version != ""

files(found) := concat(", ", [file(known) | some known in found])

detailed(found) := sprintf("%s: %s", [file(found[0]), trim_suffix(found[0].detail, ".")]) if count(found) > 0

detailed(found) := "" if count(found) == 0

found_message(found) := sprintf("the scan of %s found: %s", [file(found[0]), trim_suffix(found[0].detail, ".")]) if count(found) > 0

found_message(found) := "" if count(found) == 0

# For what is asked about anyway, whoever asks: what was looked at before.
scan_note := sprintf(" Fetched and scanned before: %s.", [concat("; ", [scan_of(known) | some known in array.slice(in_state({"scanned"}), 0, 5)])]) if {
	count(in_state({"scanned"})) > 0
}

scan_note := "" if count(in_state({"scanned"})) == 0

scan_of(known) := sprintf("%s, worst finding %s", [file(known), known.severity]) if known.fit == "exact"

scan_of(known) := sprintf("%s, worst finding %s, and another version may be installed", [file(known), known.severity]) if known.fit != "exact"
