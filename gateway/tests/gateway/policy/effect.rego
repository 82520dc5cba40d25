# Says what it was given about every read of a credential.
package defenseclaw.effect

default declared := false

declared if is_object(input.declared)

default tool := "no tool"

tool := input.tool if is_string(input.tool)

findings contains {
	"rule": "test.secret-read",
	"category": "test",
	"severity": "HIGH",
	"message": sprintf("declared %v, by %v, after %d", [declared, tool, count(input.call_effects.credential_reads)]),
	"evidence": [],
	"confidence": 100,
} if {
	input.activity.action.class == "credential"
}
