# What the operator's lists make of an artifact's admission.
#
# `input` is that of admission.rego and, beside it, `digest` (the SHA-256 of the artifact's manifest, "sha256:…"; absent where it
# is not known) and `now_ns` (ns since the Unix epoch). `data.operator.artifacts` comes from lists.yaml, checked when it was read:
# every entry names a kind, and a name, a digest or both, an owner and a reason; what loosens something expires. With empty lists
# the answer is that of admission.rego.
package defenseclaw.artifacts

import rego.v1

# Block beats allow.
decision := {"action": "block", "reason": sprintf("On the block list of %s: %s.", [entry.owner, entry.reason])} if {
	entry := blocking[0]
} else := answer if {
	answer := data.admission.decision
	answer.action == "allow"
} else := {"action": "allow", "reason": sprintf("Allowed by %s, exactly as it is: %s.", [entry.owner, entry.reason])} if {
	entry := allowing_content[0]
} else := {"action": "allow", "reason": sprintf("Allowed by %s, by its name: %s.", [entry.owner, entry.reason])} if {
	entry := allowing_name[0]
	below_critical
} else := {"action": "allow", "reason": sprintf("Made here, says %s: %s.", [entry.owner, entry.reason])} if {
	entry := first_party[0]
	below_critical
} else := answer if {
	answer := data.admission.decision
}

# An input without a severity was not understood; no list makes it admissible.
understood if data.admission.severity

below_critical if {
	understood
	data.admission.severity != "CRITICAL"
}

# --- Which entries fit -----------------------------------------------------------------------------------------------------------

blocking := [entry |
	some entry in data.operator.artifacts.block
	not ended(entry)
	entry.kind == input.kind
	block_name(entry)
	digest_fits(entry)
]

# Somebody looked at these very bytes, so even a critical finding in them is their answer. A name says nothing of the kind.
allowing_content := [entry |
	understood
	some entry in data.operator.artifacts.allow
	entry.digest
	loosens(entry)
]

allowing_name := [entry |
	some entry in data.operator.artifacts.allow
	not entry.digest
	loosens(entry)
]

first_party := [entry |
	some entry in data.operator.artifacts.first_party
	signer_fits(entry)
	loosens(entry)
]

loosens(entry) if {
	still_open(entry)
	entry.kind == input.kind
	allow_name(entry)
	digest_fits(entry)
}

# Without a clock a block stays, and what loosens something does not count.
ended(entry) if entry.expires_ns <= input.now_ns

still_open(entry) if not entry.expires_ns

still_open(entry) if entry.expires_ns > input.now_ns

block_name(entry) if not entry.name

block_name(entry) if {
	is_string(input.name)
	like(lower(entry.name), lower(input.name))
}

allow_name(entry) if not entry.name

allow_name(entry) if like(entry.name, input.name)

digest_fits(entry) if not entry.digest

digest_fits(entry) if entry.digest == input.digest

signer_fits(entry) if not entry.signer

signer_fits(entry) if entry.signer == input.trust.signed_by

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
