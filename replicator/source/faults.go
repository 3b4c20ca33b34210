package source

import "vmsync/internal/faultpoint"

// The points at which tests kill an agent, in the order a run passes them.
func hitFreeze() { faultpoint.Hit("source-after-freeze") }
func hitBegin()  { faultpoint.Hit("source-after-begin") }
func hitThaw()   { faultpoint.Hit("source-after-thaw") }
func hitFinish() { faultpoint.Hit("source-before-finish") }
func hitDrop()   { faultpoint.Hit("source-before-drop") }
