# How tools are admitted: as every artifact is. A clause for tools alone belongs here.
package admission_tool

import rego.v1

decision := data.admission.weighed
