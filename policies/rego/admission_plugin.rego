# How plugins are admitted: as every artifact is. A clause for plugins alone belongs here.
package admission_plugin

import data.admission
import rego.v1

decision := admission.weighed("plugin")
