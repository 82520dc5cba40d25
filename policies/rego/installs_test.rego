# What is made of installs. Whole command lines are tested in the crate defenseclaw-policy (tests/decisions.rs).
package defenseclaw.decision_test

import data.defenseclaw.decision

# A package of a project, from its registry.
plain := {"ecosystem": "npm", "name": "zod", "version": "range", "source": "registry", "into": "project"}

server := {"ecosystem": "mcp", "name": "files", "version": "none", "source": "registry", "from": "npm:x-mcp", "into": "agent"}

installs(changes) := object.union(call([]), {"facts": object.union(no_facts, {"installs": [object.union(plain, changes)]})})

adds(changes) := object.union(call([]), {"facts": object.union(no_facts, {"installs": [object.union(server, changes)]})})

rules_of(answer) := {finding.rule | some finding in answer.findings}

test_an_everyday_install_is_nothing_to_speak_of if {
	answer := decision.decision with input as installs({})
	answer.verdict == "allow"
	answer.severity == "NONE"
	answer.clause == "clear"
}

test_each_rule_and_its_benign_twin if {
	every expected in [
		[{"like": "zodd"}, "deny", "install.look-alike"],
		[{"like": ""}, "allow", ""],
		[{"source": "url", "from": "http://h.example/x.tgz", "host": "h.example"}, "ask", "install.open-way"],
		[{"source": "url", "from": "http://localhost/x.tgz", "host": "localhost"}, "allow", ""],
		[{"registry": "http://r.example/", "host": "r.example"}, "ask", "install.open-way"],
		[{"source": "git", "from": "git://github.com/a/b", "host": "github.com"}, "ask", "install.open-way"],
		[{"source": "git", "from": "https://github.com/a/b", "host": "github.com"}, "allow", ""],
		[{"source": "git", "from": "https://github.com/a/b", "host": "github.com", "credentials": true}, "ask", "install.login-in-address"],
		[{"source": "url", "from": "https://h.example/x.tgz", "host": "h.example"}, "ask", "install.unknown-address"],
		[{"source": "git"}, "ask", "install.unknown-address"],
		[{"source": "file"}, "allow", ""],
		[{"source": "alias", "name": "lodash", "from": "other"}, "ask", "install.alias"],
		[{"source": "alias", "name": "lodash4", "from": "lodash"}, "allow", ""],
		[{"source": "alias", "name": "old-lodash", "from": "ramda", "known": true}, "allow", ""],
		[{"ecosystem": "docker", "name": "x/MCP-y", "into": "host"}, "ask", "install.agent-image"],
		[{"ecosystem": "docker", "name": "mcp/fetch", "known": true, "into": "host"}, "allow", ""],
		[{"ecosystem": "docker", "name": "x/app", "into": "host"}, "allow", ""],
		[{"registry": "https://r.example/", "host": "r.example", "extra_registry": true}, "allow", "install.extra-registry"],
		[{"registry": "https://pypi.nvidia.com", "host": "pypi.nvidia.com", "extra_registry": true}, "allow", ""],
		[{"registry": "https://r.example/", "host": "r.example"}, "allow", "install.unknown-registry"],
		[{"registry": "https://registry.npmjs.org", "host": "registry.npmjs.org"}, "allow", ""],
		[{"runs_now": true}, "allow", "install.unpinned-run"],
		[{"runs_now": true, "version": "exact"}, "allow", ""],
		[{"runs_now": true, "known": true}, "allow", ""],
		[{"ecosystem": "vscode", "source": "file", "from": "/tmp/x.vsix"}, "ask", "install.agent"],
		[{"ecosystem": "vscode"}, "allow", ""],
		[{"ecosystem": "script", "source": "url", "from": "h.example", "host": "h.example"}, "allow", ""],
	] {
		answer := decision.decision with input as installs(expected[0])
		answer.verdict == expected[1]
		rules_of(answer) == {rule | some rule in [expected[2]]; rule != ""}
	}
}

test_what_extends_the_agent_is_asked_about if {
	asked := decision.decision with input as adds({})
	asked.verdict == "ask"
	asked.rule == "install.agent"
	asked.reason == "Needs a person's approval: this would give the agent something new that nobody has admitted: mcp:files from npm:x-mcp. Let the person look at it first; defenseclaw-cli scan shows what is in it."
	every kind in ["plugin", "skill"] {
		answer := decision.decision with input as adds({"ecosystem": kind})
		answer.verdict == "ask"
	}
	known := decision.decision with input as adds({"known": true})
	known.verdict == "allow"
	text := decision.decision with input as adds({"ecosystem": "skill", "source": "inline"})
	text.verdict == "allow"
	rules_of(text) == {"install.agent-text"}
}

test_what_was_admitted_is_not_asked_about_again if {
	admitted := {"admitted": [{"kind": "mcp", "name": "files"}]}
	answer := decision.decision with input as object.union(adds({}), admitted)
	answer.verdict == "allow"
	of_another_kind := {"admitted": [{"kind": "skill", "name": "files"}]}
	asked := decision.decision with input as object.union(adds({}), of_another_kind)
	asked.verdict == "ask"
	another := decision.decision with input as object.union(adds({"name": "other"}), admitted)
	another.verdict == "ask"

	# Nor is what the packs say of the same addition.
	added := object.union(found("MEDIUM", 90), {"rule": "cognitive.mcp-added"})
	both := object.union(object.union(adds({}), {"findings": [added]}), admitted)
	quiet := decision.decision with input as both
	quiet.verdict == "allow"
	loud := decision.decision with input as object.union(adds({}), {"findings": [added]})
	loud.verdict == "ask"
}

test_in_observe_mode_it_is_the_same_decision if {
	answer := decision.decision with input as object.union(installs({"like": "zodd"}), {"mode": "observe"})
	answer.verdict == "deny"
}

test_the_worst_of_packs_and_installs_is_the_severity if {
	low := object.union(installs({"registry": "https://r.example/", "host": "r.example", "extra_registry": true}), {"findings": [found("LOW", 50)]})
	answer := decision.decision with input as low
	answer.severity == "MEDIUM"
	answer.clause == "recorded"
}

test_lists_know_packages if {
	entry := {"owner": "o", "reason": "r", "subject": "package npm:zo*", "expires_ns": 2000, "package": "npm:zo*"}
	slip := installs({"like": "zodd"})
	allowed := decision.decision with input as slip with data.operator.allow as [entry]
	allowed.verdict == "allow"
	over := decision.decision with input as slip with data.operator.allow as [object.union(entry, {"expires_ns": 10})]
	over.verdict == "deny"
	other := decision.decision with input as installs({"like": "zodd", "ecosystem": "pypi"}) with data.operator.allow as [entry]
	other.verdict == "deny"
	elsewhere := decision.decision with input as slip with data.operator.allow as [object.union(entry, {"cwd": "/other"})]
	elsewhere.verdict == "deny"
	blocked := decision.decision with input as installs({}) with data.operator.block as [entry]
	blocked.rule == "list.block"
	free := decision.decision with input as installs({"name": "ky"}) with data.operator.block as [entry]
	free.verdict == "allow"
	server_listed := decision.decision with input as adds({}) with data.operator.allow as [object.union(entry, {"package": "mcp:files"})]
	server_listed.verdict == "allow"

	# What the packs say is set aside only where every package is on the list.
	both := object.union(installs({}), {"findings": [found("HIGH", 90)]})
	trusted := decision.decision with input as both with data.operator.allow as [entry]
	trusted.verdict == "allow"
	mixed := object.union(both, {"facts": object.union(no_facts, {"installs": [plain, object.union(plain, {"name": "ky"})]})})
	kept := decision.decision with input as mixed with data.operator.allow as [entry]
	kept.verdict == "deny"
}

test_an_exception_keeps_the_finding_and_says_whose_it_is if {
	entry := {"rule": "install.look-alike", "owner": "ana", "reason": "ours", "subject": "rule", "expires_ns": 2000, "package": "npm:zod"}
	answer := decision.decision with input as installs({"like": "zodd"}) with data.operator.exceptions as [entry]
	answer.verdict == "allow"
	answer.findings[0].rule == "install.look-alike"
	answer.findings[0].evidence == ["npm:zod", "set aside by ana: ours"]
	other := decision.decision with input as installs({"like": "zodd", "name": "ky"}) with data.operator.exceptions as [entry]
	other.verdict == "deny"
}

# --- Packages that were fetched before -------------------------------------------------------------------------------------------

fetched := {
	"ecosystem": "npm", "name": "zod", "state": "scanned", "version": "4.1.0", "integrity": "sha512-x", "fit": "exact",
	"severity": "NONE", "confidence": 100, "findings": [], "detail": "", "unreachable": "ask",
}

known(changes) := object.union(installs({"version": "exact", "asked": "4.1.0"}), {"packages": [object.union(fetched, changes)]})

test_what_is_known_of_a_package_and_its_benign_twin if {
	every expected in [
		[{}, "allow", ""],
		[{"severity": "LOW"}, "allow", ""],
		[{"severity": "MEDIUM", "detail": "d"}, "allow", "install.scan-doubts"],
		[{"severity": "HIGH", "confidence": 90, "detail": "d"}, "deny", "install.scan-found"],
		[{"severity": "HIGH", "confidence": 50, "detail": "d"}, "ask", "install.scan-found"],
		[{"severity": "CRITICAL", "confidence": 10, "detail": "d"}, "deny", "install.scan-found"],
		[{"fit": "open"}, "allow", "install.open-version"],
		[{"fit": "other"}, "ask", "install.other-version"],
		[{"state": "scanning", "version": "", "fit": "other"}, "ask", "install.being-scanned"],
		[{"state": "altered", "fit": "other", "detail": "d"}, "deny", "install.altered"],
		[{"state": "absent", "version": "", "fit": "other"}, "ask", "install.absent"],
		[{"state": "elsewhere", "version": "", "fit": "other"}, "ask", "install.not-scanned"],
		[{"state": "too_large", "fit": "other"}, "ask", "install.not-scanned"],
		[{"state": "unscanned", "fit": "other"}, "ask", "install.not-scanned"],
		[{"state": "busy", "version": "", "fit": "other"}, "ask", "install.not-scanned"],
		[{"state": "unreachable", "version": "", "fit": "other"}, "ask", "install.unreachable"],
		[{"state": "unreachable", "version": "", "fit": "other", "unreachable": "deny"}, "deny", "install.unreachable"],
		[{"state": "unreachable", "version": "", "fit": "other", "unreachable": "allow"}, "allow", "install.unreachable"],
	] {
		answer := decision.decision with input as known(expected[0])
		answer.verdict == expected[1]
		rules_of(answer) == {rule | some rule in [expected[2]]; rule != ""}
	}
}

test_a_refusal_names_the_version_and_the_file if {
	answer := decision.decision with input as known({"severity": "CRITICAL", "detail": "It sends keys away."})
	answer.reason == "Refused by policy: the scan of npm:zod 4.1.0 (sha512-x) found: It sends keys away. Do not install it."
	answer.findings[0].evidence == ["npm:zod 4.1.0 (sha512-x)"]
}

test_who_waits_is_told_where_to_look if {
	answer := decision.decision with input as known({"state": "scanning", "version": "", "fit": "other"})
	answer.reason == "Needs a person's approval: npm:zod is still being fetched and scanned. Make the same call again in a moment; `defenseclaw-cli audit query --kind package` shows what came of it."
}

test_of_several_packages_the_worst_decides if {
	bad := object.union(fetched, {"name": "bad", "severity": "CRITICAL", "detail": "d"})
	both := object.union(installs({}), {"packages": [fetched, bad]})
	answer := decision.decision with input as both
	answer.verdict == "deny"
	answer.findings[0].evidence == ["npm:bad 4.1.0 (sha512-x)"]
}

test_an_allowed_package_is_not_weighed_whatever_its_scan_found if {
	entry := {"owner": "o", "reason": "r", "subject": "package npm:zod", "expires_ns": 2000, "package": "npm:zod"}
	bad := known({"severity": "CRITICAL", "detail": "d"})
	answer := decision.decision with input as bad with data.operator.allow as [entry]
	answer.verdict == "allow"
	other := decision.decision with input as bad with data.operator.allow as [object.union(entry, {"package": "npm:ky"})]
	other.verdict == "deny"
}

test_what_extends_the_agent_is_asked_about_with_its_scan if {
	scanned := object.union(adds({}), {"packages": [object.union(fetched, {"name": "x-mcp"})]})
	answer := decision.decision with input as scanned
	answer.verdict == "ask"
	answer.rule == "install.agent"
	endswith(answer.reason, " Fetched and scanned before: npm:x-mcp 4.1.0 (sha512-x), worst finding NONE.")
	open_version := object.union(adds({}), {"packages": [object.union(fetched, {"name": "x-mcp", "fit": "open"})]})
	told := decision.decision with input as open_version
	endswith(told.reason, ", worst finding NONE, and another version may be installed.")

	# Whoever asks: here a pack does.
	added := object.union(found("MEDIUM", 90), {"rule": "cognitive.mcp-added"})
	by_pack := decision.decision with input as object.union(scanned, {"findings": [added]})
	by_pack.rule == "cognitive.mcp-added"
	contains(by_pack.reason, "npm:x-mcp 4.1.0 (sha512-x)")
	bad := object.union(adds({}), {"packages": [object.union(fetched, {"name": "x-mcp", "severity": "CRITICAL", "detail": "d"})]})
	refused := decision.decision with input as bad
	refused.verdict == "deny"
	refused.rule == "install.scan-found"
}

test_a_session_in_observe_mode_comes_to_the_same if {
	answer := decision.decision with input as object.union(known({"severity": "CRITICAL", "detail": "d"}), {"mode": "observe"})
	answer.verdict == "deny"
}
