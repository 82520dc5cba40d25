# How MCP servers are admitted: as every artifact is. A clause for MCP servers alone belongs here.
package admission_mcp

import data.admission
import rego.v1

decision := admission.weighed("MCP server")
