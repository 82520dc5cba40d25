# How MCP servers are admitted: as every artifact is. A clause for MCP servers alone belongs here.
package admission_mcp

import rego.v1

decision := data.admission.weighed
