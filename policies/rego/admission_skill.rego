# How skills are admitted: as every artifact is. A clause for skills alone belongs here.
package admission_skill

import rego.v1

decision := data.admission.weighed
