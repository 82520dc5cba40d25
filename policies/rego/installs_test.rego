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
	answer.clause == "nothing-found"
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
